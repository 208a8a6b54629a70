#include "cachemgr/mounts/channels.h"

#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "cachemgr/channel/channel_probe.h"
#include "cachemgr/channel/fuse/fuse_channel.h"

namespace floe::cachemgr {
namespace {

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

// These two are not part of this version; what the kernel lacks comes first, because it decides
// whether a later version helps.
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

Result<void> TryCachefiles() {
  if (auto device = OpenFile("/dev/cachefiles", O_RDWR); !device) {
    return device.error().os_errno == EBUSY
               ? FailedPrecondition("/dev/cachefiles is in use by another program")
               : FailedPrecondition("{} (Linux 5.19 to 7.1 with CACHEFILES_ONDEMAND)",
                                    device.error().message);
  }
  return Unimplemented("this version of Floe does not use it");
}

}  // namespace

bool IsChannelName(std::string_view name) {
  constexpr std::array<std::string_view, 3> kNames = {"auto", kFuse, kFuseLoop};
  return std::ranges::find(kNames, name) != kNames.end();
}

Result<void> Channels::TryIn(const std::string& name, const std::filesystem::path& scratch) const {
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
  return name == kFanotify ? TryFanotify(scratch) : TryCachefiles();
}

Result<void> Channels::Try(const std::string& name) const {
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

const Channels::ProbeResult& Channels::Tried(const std::string& name) {
  const auto known = std::ranges::find(tried_, name, &ProbeResult::name);
  if (known != tried_.end()) {
    return *known;
  }
  ProbeResult result{.name = name};
  const Result<void> outcome = Try(name);
  result.usable = outcome.has_value();
  result.detail = outcome ? "" : outcome.error().message;
  LogInfo("probe channel={} usable={} detail=\"{}\"", name, result.usable, result.detail);
  tried_.push_back(std::move(result));
  return tried_.back();
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

Result<OnDemandChannel*> Channels::OnDemand() {
  const MutexLock lock(mutex_);
  if (channel_ == nullptr) {
    FLOE_ASSIGN_OR_RETURN(const Attachment attachment, PlainLocked());
    const ProbeResult& probe = Tried(attachment == Attachment::kFile ? kFuse : kFuseLoop);
    if (!probe.usable) {
      return FailedPrecondition("channel {}: {}", probe.name, probe.detail);
    }
    FLOE_ASSIGN_OR_RETURN(channel_, FuseChannel::Create({.attachment = attachment,
                                                         .readers = options_.fuse_readers}));
  }
  return channel_.get();
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
