#include "cachemgr/cache/slice_decoder.h"

#include <algorithm>

namespace floe::cachemgr {
namespace {

constexpr size_t kPassedOverBytes = 128U << 10U;

}  // namespace

SliceDecoder::SliceDecoder(const image::BlobMap& map, const image::UnitView& unit,
                           std::unique_ptr<image::StreamDecoder> decoder)
    : map_(map),
      end_(unit.first_group + unit.group_count),
      decoder_(std::move(decoder)),
      next_(unit.first_group),
      passed_over_(kPassedOverBytes) {}

Result<std::unique_ptr<SliceDecoder>> SliceDecoder::Create(const image::BlobMap& map,
                                                           uint32_t unit) {
  const image::UnitView view = map.unit(unit);
  FLOE_ASSIGN_OR_RETURN(auto decoder, image::StreamDecoder::Create(view));
  return std::unique_ptr<SliceDecoder>(new SliceDecoder(map, view, std::move(decoder)));
}

std::span<std::byte> SliceDecoder::Room(const image::GroupView& group) {
  if (const uint64_t at = position(); at < group.in_unit.offset) {
    return std::span(passed_over_)
        .first(std::min<uint64_t>(passed_over_.size(), group.in_unit.offset - at));
  }
  slice_.resize(group.in_unit.length);
  return std::span(slice_).subspan(filled_);
}

Result<SliceDecoder::Next> SliceDecoder::Advance(const BlobCache& cache,
                                                 std::span<const std::byte>& input,
                                                 uint64_t& budget) {
  for (;;) {
    while (filled_ == 0 && next_ < end_ && cache.IsGroupPresentOrHeld(next_)) {
      ++next_;
    }
    if (next_ == end_) {
      return Next::kDone;
    }
    if (budget == 0) {
      return Next::kPause;
    }
    const image::GroupView group = map_.group(next_);
    const bool in_slice = position() >= group.in_unit.offset;
    std::span<std::byte> room = Room(group);
    room = room.first(std::min<uint64_t>(room.size(), budget));
    FLOE_ASSIGN_OR_RETURN(const size_t count, decoder_->Decode(input, room));
    budget -= count;
    filled_ += in_slice ? count : 0;
    if (filled_ == group.in_unit.length) {
      filled_ = 0;
      group_ = next_++;
      return Next::kSlice;
    }
    if (count == 0) {
      return Next::kInput;
    }
  }
}

}  // namespace floe::cachemgr
