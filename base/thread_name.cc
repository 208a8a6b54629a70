#include "base/thread_name.h"

#include <pthread.h>

#include <string>

namespace floe {

void SetThreadName(std::string_view name) {
  static constexpr size_t kMaxLength = 15;
  pthread_setname_np(pthread_self(), std::string(name.substr(0, kMaxLength)).c_str());
}

}  // namespace floe
