#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "cachemgr/channel/cachefiles/cachefiles_channel.h"
#include "cachemgr/channel/channel.h"
#include "cachemgr/channel/erofs_mount.h"

namespace floe::cachemgr {

/// Which mechanism serves a mount, by configuration and by what this kernel can do. Probes and
/// channels are made when first needed, and kept. Thread-safe.
class Channels {
 public:
  struct Options {
    std::string configured = "auto";  ///< "auto", "fuse", "fuse-loop" or "cachefiles".
    std::filesystem::path probe_directory =
        {};  ///< On the cache file system; made and removed at need.
    unsigned fuse_readers = 2;
    std::filesystem::path cachefiles_directory = {};  ///< The kernel's cache; made at need.
    CullLimits cull_limits = {};
  };
  struct ProbeResult {
    std::string name;
    bool usable = false;
    std::string detail = {};  ///< What exactly is missing, or speaks against it; one line.
  };

  explicit Channels(Options options) : options_(std::move(options)) {}

  /// For mounts with blobs that are not complete. FailedPrecondition: this kernel cannot.
  Result<OnDemandChannel*> OnDemand();
  /// For mounts of complete blobs only.
  Result<Attachment> Plain();
  /// A /dev/cachefiles that a holder keeps open. When a former process had bound it, and its mounts
  /// live on: the channel, in use from now on whatever is configured. Else nullptr: it serves where
  /// the device would have been opened. Before anything else.
  Result<CachefilesChannel*> TakeOver(UniqueFd cachefiles);
  /// At the end: leaves the mounts of a channel to the next process, where a holder keeps what they
  /// need. The name of that channel, or empty.
  std::string HandOver();
  /// Of the channel in use.
  ChannelCounters counters();
  /// Every mechanism, tried once and remembered.
  std::vector<ProbeResult> Probe();
  [[nodiscard]] const std::string& configured() const { return options_.configured; }

 private:
  Result<Attachment> PlainLocked() FLOE_REQUIRES(mutex_);
  Result<std::unique_ptr<OnDemandChannel>> MakeFuse() FLOE_REQUIRES(mutex_);
  /// /dev/cachefiles has one opener and one directory: what was probed is what serves.
  Result<std::unique_ptr<OnDemandChannel>> MakeCachefiles() FLOE_REQUIRES(mutex_);
  Result<void> TryCachefiles(const std::filesystem::path& scratch) FLOE_REQUIRES(mutex_);
  /// auto: fuse where files can be mounted, cachefiles where they cannot and the kernel's own is
  /// sound, else fuse over loop devices.
  bool PrefersCachefiles() FLOE_REQUIRES(mutex_);
  ProbeResult Tried(const std::string& name) FLOE_REQUIRES(mutex_);
  Result<void> Try(const std::string& name) FLOE_REQUIRES(mutex_);
  Result<void> TryIn(const std::string& name, const std::filesystem::path& scratch)
      FLOE_REQUIRES(mutex_);

  const Options options_;
  Mutex mutex_;  // Held while a probe runs: they are rare, and whoever asks needs the answer.
  std::vector<ProbeResult> tried_ FLOE_GUARDED_BY(mutex_);
  std::unique_ptr<CachefilesChannel> inherited_ FLOE_GUARDED_BY(mutex_);  ///< Not probed yet.
  std::unique_ptr<CachefilesChannel> probed_cachefiles_ FLOE_GUARDED_BY(mutex_);
  std::unique_ptr<OnDemandChannel> channel_ FLOE_GUARDED_BY(mutex_);
};

/// True for the names that --channel takes.
bool IsChannelName(std::string_view name);

}  // namespace floe::cachemgr
