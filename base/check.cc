#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace floe {

void CheckFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "floe: broken invariant: %s at %s:%d\n", condition, file, line);
  std::abort();
}

}  // namespace floe
