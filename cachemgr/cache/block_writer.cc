#include "cachemgr/cache/block_writer.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <new>

namespace floe::cachemgr {
namespace {

constexpr uint64_t kRunBytes = 1U << 20U;

bool CoveredBy(const image::BlobMap& map, uint64_t block, std::span<const uint32_t> groups) {
  return std::ranges::includes(groups, GroupsInBlock(map, block));
}

}  // namespace

void BlockWriter::Free::operator()(std::byte* buffer) const { std::free(buffer); }

// A piece is cut at its first and last block, the only ones that it may share:
//
//     blocks  |       |       |       |       |
//     piece      hhhh  mmmmmmmmmmmmmmm tt
Result<void> BlockWriter::Split(const Target& target, std::span<const ExtentPiece> pieces,
                                std::span<const uint32_t> groups) {
  parts_.clear();
  run_offset_ = run_end_ = 0;
  for (const ExtentPiece& piece : pieces) {
    uint64_t at = piece.device_offset;
    const uint64_t end = at + piece.bytes.size();
    while (at < end) {
      const uint64_t block = AlignDown(at, kBlockBytes);
      const bool whole = at == block && end - at >= kBlockBytes;
      const uint64_t next =
          whole ? AlignDown(end, kBlockBytes) : std::min(end, block + kBlockBytes);
      const auto bytes = piece.bytes.subspan(at - piece.device_offset, next - at);
      if (whole || (CoveredBy(target.map, block, groups) && !target.shared.IsWaiting(block))) {
        FLOE_RETURN_IF_ERROR(Append(target.file, at, bytes));
      } else {
        parts_.push_back({.block = block, .group = piece.group, .offset = at, .bytes = bytes});
      }
      at = next;
    }
  }
  return Flush(target.file);
}

Result<void> BlockWriter::Append(CacheFile& file, uint64_t offset,
                                 std::span<const std::byte> bytes) {
  if (run_ == nullptr) {
    run_.reset(static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, kRunBytes)));
    if (run_ == nullptr) {
      return ResourceExhausted("no memory for a run of blocks");
    }
  }
  while (!bytes.empty()) {
    const bool joins =
        run_end_ > run_offset_ && AlignDown(offset, kBlockBytes) <= AlignUp(run_end_, kBlockBytes);
    if (!joins || offset - run_offset_ >= kRunBytes) {
      FLOE_RETURN_IF_ERROR(Flush(file));
      run_offset_ = run_end_ = AlignDown(offset, kBlockBytes);
    }
    const size_t length = std::min<uint64_t>(bytes.size(), run_offset_ + kRunBytes - offset);
    std::fill(run_.get() + (run_end_ - run_offset_), run_.get() + (offset - run_offset_),
              std::byte{0});
    std::ranges::copy(bytes.first(length), run_.get() + (offset - run_offset_));
    run_end_ = offset + length;
    offset += length;
    bytes = bytes.subspan(length);
  }
  return Ok();
}

Result<void> BlockWriter::Flush(CacheFile& file) {
  if (run_end_ == run_offset_) {
    return Ok();
  }
  const uint64_t end = AlignUp(run_end_, kBlockBytes);
  std::fill(run_.get() + (run_end_ - run_offset_), run_.get() + (end - run_offset_), std::byte{0});
  auto written = file.Write({run_.get(), end - run_offset_}, run_offset_);
  run_offset_ = run_end_ = 0;
  return written;
}

Result<std::vector<uint32_t>> BlockWriter::WriteShared(const Target& target,
                                                       std::span<const uint32_t> groups) {
  const std::vector<SharedBlocks::Block> ready = target.shared.Add(parts_);
  for (const SharedBlocks::Block& block : ready) {
    auto written = Append(target.file, block.offset, block.bytes);
    if (written) {
      written = Flush(target.file);
    }
    if (!written) {
      target.shared.PutBack(ready, parts_);
      return written.error();
    }
  }
  std::vector<uint32_t> whole = target.shared.Written(ready);
  std::ranges::copy(target.shared.Settle(groups), std::back_inserter(whole));
  return whole;
}

}  // namespace floe::cachemgr
