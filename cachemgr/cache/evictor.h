#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/result.h"
#include "cachemgr/cache/blob_store.h"

namespace floe::cachemgr {

struct CacheLimits {
  uint64_t max_bytes = 0;         ///< That all blobs together may occupy; 0: no limit.
  unsigned min_free_percent = 5;  ///< Of their file system.
};

struct DiskSpace {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;  ///< For us.
};
/// statvfs(2).
Result<DiskSpace> DiskSpaceAt(const std::filesystem::path& path);

struct CacheUsage {
  uint64_t used_bytes = 0;  ///< What the blobs occupy on the disk.
  DiskSpace disk = {};
  CacheLimits limits = {};
  uint64_t evicted_blobs = 0;  ///< Since the start.
  uint64_t evicted_bytes = 0;
};

/// Keeps the blobs inside their limits: removes whole ones that nothing uses, the least recently
/// used first. A blob of a mount is never removed, also when the limit is exceeded for it.
/// Thread-safe.
class Evictor {
 public:
  struct Options {
    CacheLimits limits = {};
    std::filesystem::path directory;  ///< Of the blobs.
    /// Keys of the blobs that mounts need, whoever made them.
    std::function<std::set<std::string>()> in_use = [] { return std::set<std::string>(); };
    std::function<Result<DiskSpace>(const std::filesystem::path&)> disk_space = DiskSpaceAt;
  };
  /// `blobs` and `clock` must outlive this.
  Evictor(Options options, BlobStore& blobs, const Clock& clock)
      : options_(std::move(options)), blobs_(blobs), clock_(clock) {}

  /// Every now and then.
  void KeepLimits();
  /// The disk is full: true when something was removed. Asked again soon after it found nothing, it
  /// says so at once.
  bool MakeRoom();
  [[nodiscard]] CacheUsage usage() const;

 private:
  /// What is too much, in a few words for the log; empty: nothing.
  [[nodiscard]] std::optional<std::string> Excess(uint64_t used_bytes) const;
  /// How many blobs were removed. `at_least`: so many, whatever the limits say.
  size_t Evict(size_t at_least) FLOE_REQUIRES(mutex_);

  const Options options_;
  BlobStore& blobs_;
  const Clock& clock_;
  mutable Mutex mutex_;                             // One at a time.
  bool in_excess_ FLOE_GUARDED_BY(mutex_) = false;  ///< As it was logged.
  Clock::TimePoint not_before_ FLOE_GUARDED_BY(mutex_) = {};
  uint64_t evicted_blobs_ FLOE_GUARDED_BY(mutex_) = 0;
  uint64_t evicted_bytes_ FLOE_GUARDED_BY(mutex_) = 0;
};

}  // namespace floe::cachemgr
