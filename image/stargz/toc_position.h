#pragma once

#include <cstdint>

#include "base/byte_range.h"
#include "base/result.h"

namespace floe::image {

/// The most that a table of contents may take, compressed or decoded (containers/storage draws the
/// line there, too).
inline constexpr uint64_t kMaxTocBytes = 150ULL << 20U;

/// The header of a skippable zstd frame (RFC 8878, 3.1.2): magic number and length.
inline constexpr uint64_t kSkippableHeaderBytes = 8;

/// Where a zstd:chunked layer holds its TOC: the content of a skippable frame, itself a zstd frame.
struct TocPosition {
  ByteRange toc;
  uint64_t decoded_length = 0;
};

/// Whether `end`, the first byte after all that may hold it, and the limits leave room. DataLoss,
/// ResourceExhausted beyond kMaxTocBytes, Unimplemented for a `type` other than 1.
Result<void> CheckTocPosition(const TocPosition& position, uint64_t type, uint64_t end);

}  // namespace floe::image
