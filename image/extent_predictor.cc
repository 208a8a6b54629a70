#include "image/extent_predictor.h"

#include <algorithm>
#include <utility>

namespace floe::image {
namespace {

constexpr uint64_t kTarBlockBytes = 512;

}  // namespace

ExtentPredictor::ExtentPredictor(std::vector<ByteRange> segments) : segments_(std::move(segments)) {
  std::sort(segments_.begin(), segments_.end());
}

uint64_t ExtentPredictor::DeviceOffset() {
  while (next_ < segments_.size() && segments_[next_].end() <= device_end_) {
    ++next_;
  }
  return Segment() == nullptr ? device_end_ : std::max(device_end_, Segment()->offset);
}

uint64_t ExtentPredictor::Position(uint64_t device_offset) const {
  const bool starts_file = Segment() != nullptr && Segment()->offset == device_offset;
  return starts_file ? AlignUp(position_end_, kTarBlockBytes) + kTarBlockBytes : position_end_;
}

uint64_t ExtentPredictor::Length(uint64_t device_offset, uint64_t group_rest) const {
  return Segment() == nullptr ? group_rest : std::min(Segment()->end() - device_offset, group_rest);
}

void ExtentPredictor::Take(uint64_t device_offset, uint64_t position, uint64_t length) {
  device_end_ = device_offset + length;
  position_end_ = position + length;
}

}  // namespace floe::image
