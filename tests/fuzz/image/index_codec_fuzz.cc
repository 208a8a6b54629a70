// The columns of an index (without the zstd frame around them, which would hide them from the
// fuzzer): what is accepted is valid, can be used everywhere and comes back from its encoding.
#include <zstd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "image/blob_map.h"
#include "image/index_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string frame(ZSTD_compressBound(size), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), data, size, 1));
  const auto index = floe::image::DecodeLayerIndex(frame);
  if (!index.has_value()) {
    (void)floe::image::DecodeLayerIndex(
        std::string_view(reinterpret_cast<const char*>(data), size));
    return 0;
  }
  for (uint32_t i = 0; i < index->data().blobs.size(); ++i) {
    FLOE_CHECK(!floe::image::EncodeBlobMap(*index, i).empty());
  }
  const auto encoded = floe::image::EncodeLayerIndex(*index);
  FLOE_CHECK(encoded.has_value());
  const auto again = floe::image::DecodeLayerIndex(*encoded);
  FLOE_CHECK(again.has_value());
  FLOE_CHECK(floe::image::EncodeLayerIndex(*again).value() == *encoded);
  return 0;
}
