#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "cachemgr/channel/channel.h"
#include "cachemgr/channel/erofs_mount.h"

namespace floe::cachemgr {

/// Which mechanism serves a mount, by configuration and by what this kernel can do. Probes and
/// channels are made when first needed, and kept. Thread-safe.
class Channels {
 public:
  struct Options {
    std::string configured = "auto";  ///< "auto", "fuse" or "fuse-loop".
    std::filesystem::path probe_directory =
        {};  ///< On the cache file system; made and removed at need.
    unsigned fuse_readers = 2;
  };
  struct ProbeResult {
    std::string name;
    bool usable = false;
    std::string detail = {};  ///< What exactly is missing; one line.
  };

  explicit Channels(Options options) : options_(std::move(options)) {}

  /// For mounts with blobs that are not complete. FailedPrecondition: this kernel cannot.
  Result<OnDemandChannel*> OnDemand();
  /// For mounts of complete blobs only.
  Result<Attachment> Plain();
  /// Every mechanism, tried once and remembered.
  std::vector<ProbeResult> Probe();
  [[nodiscard]] const std::string& configured() const { return options_.configured; }

 private:
  Result<Attachment> PlainLocked() FLOE_REQUIRES(mutex_);
  const ProbeResult& Tried(const std::string& name) FLOE_REQUIRES(mutex_);
  Result<void> Try(const std::string& name) const;
  Result<void> TryIn(const std::string& name, const std::filesystem::path& scratch) const;

  const Options options_;
  Mutex mutex_;  // Held while a probe runs: they are rare, and whoever asks needs the answer.
  std::vector<ProbeResult> tried_ FLOE_GUARDED_BY(mutex_);
  std::unique_ptr<OnDemandChannel> channel_ FLOE_GUARDED_BY(mutex_);
};

/// True for the names that --channel takes.
bool IsChannelName(std::string_view name);

}  // namespace floe::cachemgr
