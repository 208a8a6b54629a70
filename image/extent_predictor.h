#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/byte_range.h"

namespace floe::image {

/// What the extents of a tar layer look like when its segments and groups are known: both sides of
/// the index codec expect the same and the file holds the differences (docs/formats.md).
///
/// The extents tile the segments, cut where groups end. In the decoded archive a file's bytes are
/// together, and the next file's come after padding to 512 bytes and one header of 512.
/// All arithmetic wraps: for a lying file the predictions are wrong, never undefined.
class ExtentPredictor {
 public:
  /// `segments`: device ranges of the blob's segments, in any order.
  explicit ExtentPredictor(std::vector<ByteRange> segments);

  // For each extent, once each and in this order, each with the true value of the one before.
  uint64_t DeviceOffset();
  [[nodiscard]] uint64_t Position(uint64_t device_offset) const;
  /// `group_rest`: bytes from the extent's position to the end of its group.
  [[nodiscard]] uint64_t Length(uint64_t device_offset, uint64_t group_rest) const;
  void Take(uint64_t device_offset, uint64_t position, uint64_t length);

 private:
  [[nodiscard]] const ByteRange* Segment() const {
    return next_ < segments_.size() ? &segments_[next_] : nullptr;
  }

  std::vector<ByteRange> segments_;  // Sorted.
  size_t next_ = 0;                  // The first segment that the extents have not covered.
  uint64_t device_end_ = 0;          // Of the last extent.
  uint64_t position_end_ = 0;
};

}  // namespace floe::image
