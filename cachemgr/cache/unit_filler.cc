#include "cachemgr/cache/unit_filler.h"

#include <algorithm>

#include "image/group_digest.h"

namespace floe::cachemgr {
namespace {

// Files of an archive stand next to each other on the device, each padded to a block: written in
// one run, zeros between them included, they cost one system call and lie together on the disk.
constexpr size_t kMaxRunBytes = 1U << 20U;
// Buffers beyond this are given back after use; units are rarely larger.
constexpr size_t kKeptBufferBytes = 8U << 20U;

void Shrink(std::vector<std::byte>& buffer) {
  if (buffer.capacity() > kKeptBufferBytes) {
    std::vector<std::byte>().swap(buffer);
  }
}

// True when no extent covers [end, next): the device is zero there.
bool OnlyPadding(const image::BlobMap& map, uint64_t end, uint64_t next) {
  if (next < end || next - end >= kBlockBytes) {
    return false;
  }
  return next == end || map.extent(map.FirstExtentEndingAfter(end)).device_offset == next;
}

}  // namespace

Result<void> UnitFiller::Fill(const image::BlobMap& map, BlobCache& cache, uint32_t unit,
                              std::span<const std::byte> compressed,
                              std::span<const std::byte> window) {
  const image::UnitView view = map.unit(unit);
  decoded_.resize(view.decoded_length);
  pieces_.clear();
  verified_.clear();
  if (auto done = decoder_.Decode(view, compressed, window, decoded_); !done) {
    return WithContext(done.error(), fmt::format("unit {}", unit));
  }
  Result<void> verified = Verify(map, cache, view, compressed);
  FLOE_RETURN_IF_ERROR(Store(map, cache));
  Shrink(decoded_);
  Shrink(run_);
  return verified;
}

Result<void> UnitFiller::FillSlice(const image::BlobMap& map, BlobCache& cache, uint32_t group,
                                   std::span<const std::byte> bytes) {
  pieces_.clear();
  verified_.clear();
  FLOE_RETURN_IF_ERROR(VerifyGroup(map, group, bytes, /*compressed=*/{}));
  std::ranges::sort(pieces_, {}, &ExtentPiece::device_offset);
  return Store(map, cache);
}

Result<void> UnitFiller::Verify(const image::BlobMap& map, const BlobCache& cache,
                                const image::UnitView& unit,
                                std::span<const std::byte> compressed) {
  Result<void> outcome = Ok();
  for (uint32_t g = unit.first_group; g < unit.first_group + unit.group_count; ++g) {
    if (cache.IsGroupPresentOrHeld(g)) {
      continue;
    }
    const ByteRange in_unit = map.group(g).in_unit;
    const auto bytes = std::span<const std::byte>(decoded_).subspan(in_unit.offset, in_unit.length);
    if (auto verified = VerifyGroup(map, g, bytes, compressed); !verified) {
      outcome = verified;
    }
  }
  std::ranges::sort(pieces_, {}, &ExtentPiece::device_offset);
  return outcome;
}

Result<void> UnitFiller::VerifyGroup(const image::BlobMap& map, uint32_t number,
                                     std::span<const std::byte> bytes,
                                     std::span<const std::byte> compressed) {
  const image::GroupView group = map.group(number);
  if (auto good = image::CheckGroupDigest(group, bytes, compressed); !good) {
    return WithContext(good.error(), fmt::format("group {}", number));
  }
  verified_.push_back(number);
  for (uint32_t n = 0; n < group.extent_count; ++n) {
    const image::ExtentView extent = map.GroupExtent(group, n);
    pieces_.push_back({.device_offset = extent.device_offset,
                       .bytes = bytes.subspan(extent.offset_in_group, extent.length),
                       .group = number});
  }
  return Ok();
}

Result<void> UnitFiller::Store(const image::BlobMap& map, BlobCache& cache) {
  for (;;) {  // Again only when the kernel gave the device another file meanwhile.
    const BlobCache::Target target = cache.target();
    const auto written = Write(map, cache, target);
    if (!written && cache.target().file == target.file) {
      return written.error();
    }
    if (written && cache.MarkPresent(*written, *target.file)) {
      if (target.shared != nullptr) {
        target.shared->Release(*written);
      }
      return Ok();
    }
  }
}

Result<std::vector<uint32_t>> UnitFiller::Write(const image::BlobMap& map, const BlobCache& cache,
                                                const BlobCache::Target& target) {
  if (target.shared != nullptr) {
    return blocks_.Write({map, *target.file, *target.shared}, pieces_, verified_,
                         [&](uint32_t group) { return cache.IsGroupPresent(group); });
  }
  FLOE_RETURN_IF_ERROR(WritePieces(map, *target.file));
  return verified_;
}

// pieces:  |aaaaaaaa|aaa  |bbbb  |        |cccc|      one run: a, zeros, b, zeros
// blocks:  0        4096  8192   12288    16384       another: c
Result<void> UnitFiller::WritePieces(const image::BlobMap& map, CacheFile& file) {
  size_t next = 0;
  while (next < pieces_.size()) {
    const uint64_t start = pieces_[next].device_offset;
    uint64_t end = start;
    run_.clear();
    while (next < pieces_.size() && run_.size() < kMaxRunBytes &&
           OnlyPadding(map, end, pieces_[next].device_offset)) {
      const ExtentPiece& piece = pieces_[next++];
      run_.resize(piece.device_offset - start);
      run_.insert(run_.end(), piece.bytes.begin(), piece.bytes.end());
      end = start + run_.size();
    }
    FLOE_RETURN_IF_ERROR(file.Write(run_, start));
  }
  return Ok();
}

}  // namespace floe::cachemgr
