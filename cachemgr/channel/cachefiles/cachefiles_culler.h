#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "cachemgr/channel/cachefiles/cachefiles_device.h"

namespace floe::cachemgr {

/// A file of the kernel's cache that may be removed.
struct CullCandidate {
  std::filesystem::path path;
  int64_t last_used_ns = 0;  ///< The later of its access and modification times.
  uint64_t disk_bytes = 0;
};
/// Every file under <directory>/cache, longest unused first. The layout is the kernel's
/// (fs/cachefiles/volume.c, key.c): cache/I<volume>/@<hh>/D<key>.
Result<std::vector<CullCandidate>> ListCullCandidates(const std::filesystem::path& directory);

/// Makes room in the kernel's cache, whose file system the kernel itself never cleans: when less
/// than `cull` per cent of its blocks or inodes are free, the longest unused files go, until `run`
/// per cent are. Files in use stay. Empties the graveyard, where the kernel puts what it cannot
/// delete. Runs on a thread of its own ("cf-cull") with its own working directory, which the
/// kernel's `cull` command needs.
class CachefilesCuller {
 public:
  struct Options {
    std::filesystem::path directory;
    CullLimits limits;
    std::chrono::milliseconds interval{10000};
  };
  /// `device` must outlive this.
  CachefilesCuller(CachefilesDevice& device, Options options);
  ~CachefilesCuller();
  CachefilesCuller(const CachefilesCuller&) = delete;
  CachefilesCuller& operator=(const CachefilesCuller&) = delete;

 private:
  void Run();
  void CullOnce();
  Result<bool> Cull(const CullCandidate& candidate);

  CachefilesDevice& device_;
  const Options options_;
  Mutex mutex_;
  CondVar wake_;
  bool stopping_ FLOE_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace floe::cachemgr
