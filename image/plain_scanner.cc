#include "image/plain_scanner.h"

#include <algorithm>

namespace floe::image {

PlainScanner::PlainScanner(uint64_t span_bytes, ScanSink& sink)
    : span_bytes_(std::clamp<uint64_t>(span_bytes, 1, kMaxUnitBytes)), sink_(sink) {}

Result<void> PlainScanner::Feed(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const uint64_t take = std::min<uint64_t>(bytes.size(), span_bytes_ - unit_.length);
    FLOE_RETURN_IF_ERROR(sink_.OnDecoded(bytes.first(take)));
    bytes = bytes.subspan(take);
    unit_.length += take;
    if (unit_.length == span_bytes_) {
      FLOE_RETURN_IF_ERROR(EndUnit());
    }
  }
  return Ok();
}

Result<std::string> PlainScanner::Finish() {
  FLOE_RETURN_IF_ERROR(EndUnit());
  return std::string();
}

Result<void> PlainScanner::EndUnit() {
  if (unit_.empty()) {
    return Ok();
  }
  const ScannedUnit unit{.range = unit_, .decoded_length = unit_.length, .window = {}};
  unit_ = {.offset = unit_.end(), .length = 0};
  return sink_.OnUnit(unit);
}

}  // namespace floe::image
