// A gzip file that the scanner accepts decodes from every checkpoint. The first two bytes choose
// the span and how the rest is split.
#include <cstddef>
#include <cstdint>

#include "image/gzip_scanner.h"
#include "tests/fuzz/image/checking_sink.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) {
    return 0;
  }
  floe::image::CheckingSink sink;
  auto scanner = floe::image::GzipScanner::Create({.span_bytes = 1U << (data[0] % 16)}, sink);
  floe::image::ScanAndDecode(**scanner, sink, std::as_bytes(std::span(data, size)).subspan(2),
                             size_t{data[1]} + 1);
  return 0;
}
