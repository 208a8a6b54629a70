// Registry documents: parsed or refused with one line.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "image/manifest.h"

namespace {

template <typename T>
void CheckOneLine(const floe::Result<T>& result) {
  FLOE_CHECK(result.has_value() || result.error().message.find('\n') == std::string::npos);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  CheckOneLine(floe::image::ParseImageManifest(text));
  CheckOneLine(floe::image::ParseImageConfig(text));
  CheckOneLine(floe::image::Platform::Parse(text));
  const auto index = floe::image::ParseImageIndex(text);
  CheckOneLine(index);
  if (index.has_value()) {
    CheckOneLine(floe::image::ChoosePlatform(*index, floe::image::Platform::Host()));
  }
  return 0;
}
