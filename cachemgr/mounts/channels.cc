#include "cachemgr/mounts/channels.h"

#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/mount.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <tuple>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "cachemgr/channel/channel_probe.h"
#include "cachemgr/channel/fuse/fuse_channel.h"

namespace floe::cachemgr {
namespace {

constexpr const char* kAuto = "auto";
constexpr const char* kNone = "none";
constexpr const char* kNoneLoop = "none-loop";
constexpr const char* kFuse = "fuse";
constexpr const char* kFuseLoop = "fuse-loop";
constexpr const char* kFanotify = "fanotify";
constexpr const char* kCachefiles = "cachefiles";
// Pre-content events (Linux 6.14), which Debian 12's headers do not name.
constexpr uint64_t kFanPreAccess = 0x00100000;

Result<void> TryFuse(Attachment attachment, const std::filesystem::path& scratch) {
  FLOE_ASSIGN_OR_RETURN(const auto channel, FuseChannel::Create({.attachment = attachment}));
  return channel->Probe(scratch);
}

// Not part of this version; what the kernel lacks comes first, because it decides whether a later
// version helps.
Result<void> TryFanotify(const std::filesystem::path& scratch) {
  const UniqueFd group(::fanotify_init(FAN_CLASS_PRE_CONTENT | FAN_CLOEXEC, O_RDWR));
  if (!group.valid()) {
    return ErrnoError(errno, "fanotify_init");
  }
  FLOE_ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(scratch / "marked", O_RDWR | O_CREAT));
  if (::fanotify_mark(group.get(), FAN_MARK_ADD, kFanPreAccess, AT_FDCWD,
                      (scratch / "marked").c_str()) != 0) {
    if (errno == EINVAL) {
      return FailedPrecondition("no pre-content events: Linux 6.14 or later is needed");
    }
    if (errno == EOPNOTSUPP) {
      return FailedPrecondition(
          "the cache file system has no pre-content events (ext4, xfs, btrfs)");
    }
    return ErrnoError(errno, "fanotify_mark");
  }
  return Unimplemented("the kernel can; this version of Floe does not use it");
}

// Before 6.6.41 and 6.9.11 a misbehaving daemon or a mount at the wrong moment could corrupt the
// kernel's memory (docs/channels.md).
bool HasCachefilesFixes() {
  utsname kernel{};
  int major = 0;
  int minor = 0;
  int patch = 0;
  if (::uname(&kernel) != 0 ||
      std::sscanf(kernel.release, "%d.%d.%d", &major, &minor, &patch) < 2) {
    return true;
  }
  const auto version = std::tuple(major, minor, patch);
  constexpr int kMajor = 6;
  return version >= std::tuple(kMajor, 9, 11) ||
         (std::pair(major, minor) == std::pair(kMajor, 6) && patch >= 41);
}

}  // namespace

bool IsChannelName(std::string_view name) {
  constexpr std::array<std::string_view, 4> kNames = {kAuto, kFuse, kFuseLoop, kCachefiles};
  return std::ranges::find(kNames, name) != kNames.end();
}

Result<void> Channels::TryIn(const std::string& name, const std::filesystem::path& scratch) {
  if (name == kNone) {
    return ProbePlainMount(Attachment::kFile, scratch);
  }
  if (name == kNoneLoop) {
    return ProbePlainMount(Attachment::kLoop, scratch);
  }
  if (name == kFuse) {
    return TryFuse(Attachment::kFile, scratch);
  }
  if (name == kFuseLoop) {
    return TryFuse(Attachment::kLoop, scratch);
  }
  return name == kFanotify ? TryFanotify(scratch) : TryCachefiles(scratch);
}

Result<void> Channels::TryCachefiles(const std::filesystem::path& scratch) {
  if (channel_ != nullptr && channel_->name() == kCachefiles) {
    return channel_->Probe(scratch);
  }
  std::unique_ptr<CachefilesChannel> channel = std::move(inherited_);
  if (channel == nullptr) {
    FLOE_ASSIGN_OR_RETURN(
        channel, CachefilesChannel::Create(
                     {.directory = options_.cachefiles_directory, .limits = options_.cull_limits}));
  }
  FLOE_RETURN_IF_ERROR(channel->Probe(scratch));
  if (PrefersCachefiles()) {
    probed_cachefiles_ = std::move(channel);
  }
  return Ok();
}

Result<void> Channels::Try(const std::string& name) {
  const std::filesystem::path scratch = options_.probe_directory / name;
  // Left by a process that was killed in the middle of a probe.
  ::umount2((scratch / "mnt").c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  FLOE_RETURN_IF_ERROR(RemoveTree(scratch));
  FLOE_RETURN_IF_ERROR(CreateDirectories(scratch));
  Result<void> outcome = TryIn(name, scratch);
  if (auto removed = RemoveTree(options_.probe_directory); !removed) {
    LogWarning("probe directory not removed reason=\"{}\"", removed.error().message);
  }
  return outcome;
}

Channels::ProbeResult Channels::Tried(const std::string& name) {
  const auto known = std::ranges::find(tried_, name, &ProbeResult::name);
  if (known != tried_.end()) {
    return *known;
  }
  ProbeResult result{.name = name};
  const Result<void> outcome = Try(name);
  result.usable = outcome.has_value();
  if (!outcome) {
    result.detail = outcome.error().message;
  } else if (name == kCachefiles && !HasCachefilesFixes()) {
    result.detail =
        "works, but this kernel lacks fixes of its cachefiles: use 6.6.41, 6.9.11 or later";
  }
  LogInfo("probe channel={} usable={} detail=\"{}\"", name, result.usable, result.detail);
  // Another program that has what is needed may let go of it.
  if (outcome || outcome.error().code != ErrorCode::kUnavailable) {
    tried_.push_back(result);
  }
  return result;
}

Result<Attachment> Channels::PlainLocked() {
  if (options_.configured == kFuseLoop) {
    return Attachment::kLoop;
  }
  const ProbeResult file = Tried(kNone);
  if (file.usable) {
    return Attachment::kFile;
  }
  const ProbeResult loop = Tried(kNoneLoop);
  if (loop.usable) {
    return Attachment::kLoop;
  }
  return FailedPrecondition("this kernel cannot mount: {}; with loop devices: {}", file.detail,
                            loop.detail);
}

Result<Attachment> Channels::Plain() {
  const MutexLock lock(mutex_);
  return PlainLocked();
}

Result<std::unique_ptr<OnDemandChannel>> Channels::MakeFuse() {
  FLOE_ASSIGN_OR_RETURN(const Attachment attachment, PlainLocked());
  const ProbeResult probe = Tried(attachment == Attachment::kFile ? kFuse : kFuseLoop);
  if (!probe.usable) {
    return FailedPrecondition("channel {}: {}", probe.name, probe.detail);
  }
  return FuseChannel::Create({.attachment = attachment, .readers = options_.fuse_readers});
}

Result<std::unique_ptr<OnDemandChannel>> Channels::MakeCachefiles() {
  const ProbeResult probe = Tried(kCachefiles);
  if (!probe.usable || probed_cachefiles_ == nullptr) {
    return FailedPrecondition("channel {}: {}", probe.name, probe.detail);
  }
  return std::move(probed_cachefiles_);
}

bool Channels::PrefersCachefiles() {
  return options_.configured == kCachefiles ||
         (options_.configured == kAuto && HasCachefilesFixes() &&
          !(Tried(kNone).usable && Tried(kFuse).usable));
}

Result<OnDemandChannel*> Channels::OnDemand() {
  const MutexLock lock(mutex_);
  if (channel_ == nullptr) {
    const bool cachefiles =
        PrefersCachefiles() && (options_.configured == kCachefiles || Tried(kCachefiles).usable);
    FLOE_ASSIGN_OR_RETURN(channel_, cachefiles ? MakeCachefiles() : MakeFuse());
    if (cachefiles && !HasCachefilesFixes()) {
      LogWarning("channel cachefiles: this kernel lacks fixes of its own memory safety");
    }
    LogInfo("channel chosen name={} configured={}", channel_->name(), options_.configured);
  }
  return channel_.get();
}

Result<CachefilesChannel*> Channels::TakeOver(UniqueFd cachefiles) {
  FLOE_ASSIGN_OR_RETURN(auto channel,
                        CachefilesChannel::Create({.directory = options_.cachefiles_directory,
                                                   .limits = options_.cull_limits,
                                                   .held = std::move(cachefiles)}));
  const MutexLock lock(mutex_);
  if (!channel->taken_over()) {
    inherited_ = std::move(channel);
    return nullptr;
  }
  CachefilesChannel* taken_over = channel.get();
  channel_ = std::move(channel);
  return taken_over;
}

std::string Channels::HandOver() {
  const MutexLock lock(mutex_);
  auto* cachefiles = dynamic_cast<CachefilesChannel*>(channel_.get());
  return cachefiles != nullptr && cachefiles->HandOver() ? kCachefiles : "";
}

ChannelCounters Channels::counters() {
  const MutexLock lock(mutex_);
  return channel_ == nullptr ? ChannelCounters{} : channel_->counters();
}

std::vector<Channels::ProbeResult> Channels::Probe() {
  const MutexLock lock(mutex_);
  std::vector<ProbeResult> results;
  for (const char* name : {kNone, kNoneLoop, kFuse, kFuseLoop, kFanotify, kCachefiles}) {
    results.push_back(Tried(name));
  }
  return results;
}

}  // namespace floe::cachemgr
