#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "snapshotter/filter.h"

// A filter either says what is wrong with it, in one printable line, or can be asked.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using floe::snapshotter::Filter;
  using floe::snapshotter::Info;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto filter = Filter::Parse({text});
  if (!filter) {
    for (const char c : filter.error().message) {
      FLOE_CHECK(c != '\n' && c != '\0');
    }
    return 0;
  }
  Info snapshot;
  snapshot.name = "ns/1/key";
  snapshot.labels = {{"a.b", "c"}, {"containerd.io/snapshot.ref", "sha256:0"}};
  (void)filter->Matches(snapshot);
  return 0;
}
