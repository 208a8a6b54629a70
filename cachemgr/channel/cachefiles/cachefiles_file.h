#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/byte_range.h"
#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "cachemgr/channel/cache_file.h"

namespace floe::cachemgr {

/// The anonymous descriptor that came with an OPEN message: the cache file of one cookie, behind
/// the kernel's back to nobody. Write-only, forced into O_DIRECT: whole pages from page-aligned
/// memory. A written block is present from then on. Thread-safe.
class CachefilesFile final : public CacheFile {
 public:
  /// `size_bytes` as answered to the OPEN; nothing is written beyond (the kernel would extend the
  /// file).
  CachefilesFile(UniqueFd fd, uint64_t size_bytes)
      : size_bytes_(size_bytes), fd_(std::make_shared<const UniqueFd>(std::move(fd))) {}

  [[nodiscard]] WriteRules rules() const override {
    return {.alignment_bytes = kBlockBytes, .written_is_present = true};
  }
  Result<void> Write(std::span<const std::byte> bytes, uint64_t offset) override;
  Result<void> WriteZeros(ByteRange range);
  /// The backing file system survives a power cut with what it has of this file; the kernel gives
  /// no descriptor that could be synced, and links the file only when its cookie is withdrawn.
  Result<void> Sync() override { return Ok(); }

  /// What is there, in order and apart from each other. Unavailable: the kernel has not attached
  /// the file yet (it does so a moment after the answer to the OPEN).
  Result<std::vector<ByteRange>> PresentRanges() const;
  /// True when a block of the range was never written.
  Result<bool> HasHole(ByteRange range) const;
  /// Lets the reader go on that waits for `message`. It looks once more whether the range is there,
  /// and fails with EIO where it is not.
  Result<void> CompleteRead(uint32_t message) const;
  /// After the kernel's CLOSE: whatever is called from now on fails with Cancelled. The kernel
  /// keeps the cookie, and with it the volume that the next mount needs, until the descriptor is
  /// closed.
  void Close();

  [[nodiscard]] uint64_t size_bytes() const { return size_bytes_; }

 private:
  /// Stays open while the caller has it.
  Result<std::shared_ptr<const UniqueFd>> Fd() const;

  const uint64_t size_bytes_;
  mutable Mutex mutex_;
  std::shared_ptr<const UniqueFd> fd_ FLOE_GUARDED_BY(mutex_);
};

}  // namespace floe::cachemgr
