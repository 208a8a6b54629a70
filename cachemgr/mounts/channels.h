#pragma once

#include <filesystem>
#include <map>
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
#include "cachemgr/mounts/inheritance.h"

namespace floe::cachemgr {

/// Which mechanism serves a mount, by configuration and by what this kernel can do. Probes and
/// channels are made when first needed, and kept. Thread-safe.
class Channels {
 public:
  struct Options {
    std::string configured = "auto";  ///< See IsChannelName.
    /// auto: only channels that fail closed by themselves, whatever becomes of the keeper.
    bool strict = false;
    std::filesystem::path probe_directory =
        {};                ///< On the cache file system; made and removed at need.
    unsigned readers = 2;  ///< Threads that answer the kernel, for each channel that has them.
    std::filesystem::path cachefiles_directory = {};  ///< The kernel's cache; made at need.
    CullLimits cull_limits = {};
    KeeperClient* keeper = nullptr;  ///< Null: none.
  };
  struct ProbeResult {
    std::string name;
    bool usable = false;
    std::string detail = {};  ///< What exactly is missing, or speaks against it; one line.
  };

  explicit Channels(Options options) : options_(std::move(options)) {}

  /// For new mounts with blobs that are not complete. FailedPrecondition: this kernel cannot.
  Result<OnDemandChannel*> OnDemand();
  /// For mounts of complete blobs only.
  Result<Attachment> Plain();
  /// The channels that a former process had in use, whatever is configured now. What cannot be
  /// taken over is logged, and withdrawn from the keeper, but for fanotify groups: those watch on,
  /// and nobody answers them. Before anything else.
  std::vector<OnDemandChannel*> TakeOver(Inheritance& inheritance);
  /// After every file of such groups is watched by another: what waits in them fails.
  void DenyAbandoned();
  /// A device that a former process had marked (fanotify), and that no mount needs any more.
  void Forget(const std::string& key, int data_fd);
  /// At the end: the channels that leave their mounts to the next process, of those named in
  /// `needed`.
  std::vector<std::string> HandOver(const std::vector<std::string>& needed);
  /// Of all channels in use.
  ChannelCounters counters();
  /// Every mechanism, tried once and remembered.
  std::vector<ProbeResult> Probe();
  [[nodiscard]] const std::string& configured() const { return options_.configured; }

 private:
  Result<std::string> Choose() FLOE_REQUIRES(mutex_);
  /// The one in use that `name` cannot stand beside, or `name`: a blob is in one cache file.
  std::string Compatible(const std::string& name) FLOE_REQUIRES(mutex_);
  Result<std::unique_ptr<OnDemandChannel>> Make(const std::string& name) FLOE_REQUIRES(mutex_);
  Result<std::unique_ptr<OnDemandChannel>> Inherited(const std::string& name,
                                                     Inheritance& inheritance);
  void Abandon(const std::string& name, UniqueFd group) FLOE_REQUIRES(mutex_);
  Result<Attachment> PlainLocked() FLOE_REQUIRES(mutex_);
  Result<void> TryCachefiles(const std::filesystem::path& scratch) FLOE_REQUIRES(mutex_);
  /// The choice of this name, or none, stands by configuration and kernel.
  bool PrefersFanotify() FLOE_REQUIRES(mutex_);
  bool PrefersCachefiles() FLOE_REQUIRES(mutex_);
  ProbeResult Tried(const std::string& name) FLOE_REQUIRES(mutex_);
  Result<void> Try(const std::string& name) FLOE_REQUIRES(mutex_);
  Result<void> TryIn(const std::string& name, const std::filesystem::path& scratch)
      FLOE_REQUIRES(mutex_);

  const Options options_;
  Mutex mutex_;  // Held while a probe runs: they are rare, and whoever asks needs the answer.
  std::vector<ProbeResult> tried_ FLOE_GUARDED_BY(mutex_);
  /// /dev/cachefiles has one opener and one directory: what was probed is what serves.
  std::unique_ptr<CachefilesChannel> probed_cachefiles_ FLOE_GUARDED_BY(mutex_);
  std::map<std::string, std::unique_ptr<OnDemandChannel>> channels_ FLOE_GUARDED_BY(mutex_);
  /// Groups that could not be taken over, by the keeper's names for them.
  std::map<std::string, UniqueFd> abandoned_ FLOE_GUARDED_BY(mutex_);
};

/// True for the names that --channel takes: auto, fuse, fuse-loop, fanotify, cachefiles.
bool IsChannelName(std::string_view name);
/// "auto, fuse, ...", for messages.
std::string ChannelNames();

}  // namespace floe::cachemgr
