#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "fetcher/reference.h"

// Whatever parses has a canonical form that parses to itself.
// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using floe::fetcher::Reference;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (floe::Result<Reference> once = Reference::Parse(text)) {
    floe::Result<Reference> twice = Reference::Parse(once->ToString());
    FLOE_CHECK(twice.has_value());
    FLOE_CHECK(twice->ToString() == once->ToString());
    FLOE_CHECK(twice->repository == once->repository);
    FLOE_CHECK(!once->ManifestName().empty());
  }
  return 0;
}
