#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "cachemgr/cache/blob_cache.h"
#include "image/blob_map.h"
#include "image/stream_decoder.h"

namespace floe::cachemgr {

/// Cuts a streamed unit into its slices (groups), as its compressed bytes come. Slices that are
/// present already are decoded and passed over. Memory: one slice and the frame's window. One
/// thread at a time.
///
///     decoded bytes   |-- slice 0 --|-- slice 1 --|   gap   |-- slice 2 --| no file's
///     position()                          ^ of a slice before it is whole: kept in a buffer
class SliceDecoder {
 public:
  /// `map` must outlive this.
  static Result<std::unique_ptr<SliceDecoder>> Create(const image::BlobMap& map, uint32_t unit);

  enum class Next : uint8_t {
    kSlice,  ///< One is whole: group() and bytes(), until the next call.
    kInput,  ///< All input is used up.
    kPause,  ///< So many bytes were decoded as the caller allowed.
    kDone,   ///< All slices that are left are present.
  };
  /// Goes on with `input`, the unit's bytes in order, and takes what it used from its front.
  /// `budget`: decoded bytes that may be made; what is left of them. DataLoss as StreamDecoder.
  Result<Next> Advance(const BlobCache& cache, std::span<const std::byte>& input, uint64_t& budget);

  [[nodiscard]] uint32_t group() const { return group_; }
  [[nodiscard]] std::span<const std::byte> bytes() const { return slice_; }
  /// Bytes of the unit decoded so far.
  [[nodiscard]] uint64_t position() const { return decoder_->position(); }

 private:
  SliceDecoder(const image::BlobMap& map, const image::UnitView& unit,
               std::unique_ptr<image::StreamDecoder> decoder);
  /// Where the next bytes go: into the slice, or nowhere in particular.
  std::span<std::byte> Room(const image::GroupView& group);

  const image::BlobMap& map_;
  const uint32_t end_;  ///< Behind the unit's last group.
  const std::unique_ptr<image::StreamDecoder> decoder_;
  uint32_t next_;        ///< The group that is being decoded, or comes next.
  uint64_t filled_ = 0;  ///< Bytes of it in slice_.
  uint32_t group_ = 0;
  std::vector<std::byte> slice_;
  std::vector<std::byte> passed_over_;
};

}  // namespace floe::cachemgr
