#include "cachemgr/cache/evictor.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/log.h"

namespace floe::cachemgr {
namespace {

constexpr std::chrono::seconds kPause{1};

uint64_t Sum(const std::vector<StoredBlob>& stored) {
  uint64_t bytes = 0;
  for (const StoredBlob& blob : stored) {
    bytes += blob.disk_bytes;
  }
  return bytes;
}

}  // namespace

Result<DiskSpace> DiskSpaceAt(const std::filesystem::path& path) {
  struct statvfs status{};
  if (::statvfs(path.c_str(), &status) != 0) {
    return ErrnoError(errno, fmt::format("statvfs {}", path.native()));
  }
  return DiskSpace{.total_bytes = uint64_t{status.f_blocks} * status.f_frsize,
                   .free_bytes = uint64_t{status.f_bavail} * status.f_frsize};
}

std::optional<std::string> Evictor::Excess(uint64_t used_bytes) const {
  const CacheLimits& limits = options_.limits;
  if (limits.max_bytes > 0 && used_bytes > limits.max_bytes) {
    return fmt::format("{} bytes used, {} allowed", used_bytes, limits.max_bytes);
  }
  const auto space = options_.disk_space(options_.directory);
  if (space && space->free_bytes < space->total_bytes / 100 * limits.min_free_percent) {
    return fmt::format("{} of {} bytes free, {} % wanted", space->free_bytes, space->total_bytes,
                       limits.min_free_percent);
  }
  return std::nullopt;
}

void Evictor::KeepLimits() {
  const MutexLock lock(mutex_);
  Evict(0);
}

bool Evictor::MakeRoom() {
  const MutexLock lock(mutex_);
  if (clock_.Now() < not_before_) {
    return false;
  }
  const bool made = Evict(1) > 0;
  if (!made) {
    not_before_ = clock_.Now() + kPause;
  }
  return made;
}

size_t Evictor::Evict(size_t at_least) {
  std::vector<StoredBlob> stored = blobs_.Stored();
  uint64_t used_bytes = Sum(stored);
  auto excess = Excess(used_bytes);
  size_t removed = 0;
  if (excess || at_least > 0) {
    const std::set<std::string> in_use = options_.in_use();
    std::ranges::sort(stored, {}, &StoredBlob::last_used);
    for (const StoredBlob& blob : stored) {
      if (!excess && removed >= at_least) {
        break;
      }
      if (blob.disk_bytes == 0 || in_use.contains(blob.key)) {
        continue;
      }
      const auto gone = blobs_.Remove(blob.key);
      if (!gone) {
        LogError("blob not evicted key={} reason=\"{}\"", blob.key, gone.error().message);
      }
      if (!gone || !*gone) {
        continue;
      }
      LogInfo("blob evicted key={} bytes={} reason=\"{}\"", blob.key, blob.disk_bytes,
              excess.value_or("the disk is full"));
      ++removed;
      ++evicted_blobs_;
      evicted_bytes_ += blob.disk_bytes;
      used_bytes -= blob.disk_bytes;
      excess = Excess(used_bytes);
    }
  }
  if (excess && !in_excess_) {
    LogWarning("cache beyond its limits, all of it in use reason=\"{}\"", *excess);
  }
  in_excess_ = excess.has_value();
  return removed;
}

CacheUsage Evictor::usage() const {
  CacheUsage usage{.used_bytes = Sum(blobs_.Stored()), .limits = options_.limits};
  if (auto space = options_.disk_space(options_.directory)) {
    usage.disk = *space;
  }
  const MutexLock lock(mutex_);
  usage.evicted_blobs = evicted_blobs_;
  usage.evicted_bytes = evicted_bytes_;
  return usage;
}

}  // namespace floe::cachemgr
