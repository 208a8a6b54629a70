// Whatever a unit, its bytes and its window say, the decoder fills the output or fails. The first
// bytes are codec, bits, decoded length (2) and window length (2); then window, then compressed.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "image/unit_decoder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kHeader = 6;
  if (size < kHeader) {
    return 0;
  }
  const auto rest = std::as_bytes(std::span(data, size)).subspan(kHeader);
  const size_t window = std::min<size_t>(data[4] * 256U + data[5], rest.size());
  floe::image::UnitView unit;
  unit.codec = static_cast<floe::image::Codec>(data[0] % 5);
  unit.bits = data[1];
  unit.decoded_length = data[2] * 256U + data[3] + 1U;
  unit.window.length = window;
  unit.range.length = rest.size() - window;
  std::vector<std::byte> out(unit.decoded_length);
  floe::image::UnitDecoder decoder;
  (void)decoder.Decode(unit, rest.subspan(window), rest.first(window), out);
  return 0;
}
