#include "cachemgr/mounts/channels.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <tuple>
#include <utility>

#include <fmt/ranges.h>

#include "base/file.h"
#include "base/log.h"
#include "cachemgr/channel/channel_probe.h"
#include "cachemgr/channel/fanotify/fanotify_channel.h"
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
constexpr std::string_view kAbandoned = "fanotify:abandoned-";

Result<void> TryFuse(Attachment attachment, const std::filesystem::path& scratch) {
  FLOE_ASSIGN_OR_RETURN(const auto channel, FuseChannel::Create({.attachment = attachment}));
  return channel->Probe(scratch);
}

// Without a keeper: the probe's mount does not outlive it.
Result<void> TryFanotify(const std::filesystem::path& scratch) {
  FLOE_ASSIGN_OR_RETURN(const auto channel, FanotifyChannel::Create({}));
  return channel->Probe(scratch);
}

constexpr std::array<std::string_view, 5> kChannelNames = {kAuto, kFuse, kFuseLoop, kFanotify,
                                                           kCachefiles};

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
  return std::ranges::find(kChannelNames, name) != kChannelNames.end();
}

std::string ChannelNames() { return fmt::format("{}", fmt::join(kChannelNames, ", ")); }

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
  if (auto used = channels_.find(kCachefiles); used != channels_.end()) {
    return used->second->Probe(scratch);
  }
  FLOE_ASSIGN_OR_RETURN(auto channel,
                        CachefilesChannel::Create({.directory = options_.cachefiles_directory,
                                                   .limits = options_.cull_limits,
                                                   .keeper = options_.keeper}));
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
  // Another program that has what is needed may let go of it; there may be room on the disk again.
  if (outcome || (outcome.error().code != ErrorCode::kUnavailable &&
                  outcome.error().code != ErrorCode::kResourceExhausted)) {
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

bool Channels::PrefersFanotify() {
  return !options_.strict && options_.keeper != nullptr && Tried(kNone).usable &&
         options_.keeper->Check() && Tried(kFanotify).usable;
}

// Cachefiles where files cannot be mounted, and the kernel's own is sound.
bool Channels::PrefersCachefiles() {
  return options_.configured == kCachefiles ||
         (options_.configured == kAuto && HasCachefilesFixes() &&
          !(Tried(kNone).usable && Tried(kFuse).usable));
}

Result<std::string> Channels::Choose() {
  if (options_.configured == kAuto) {
    if (PrefersFanotify()) {
      return std::string(kFanotify);
    }
    if (PrefersCachefiles() && Tried(kCachefiles).usable) {
      return std::string(kCachefiles);
    }
  }
  if (options_.configured == kFanotify) {
    if (options_.keeper == nullptr) {
      return FailedPrecondition("channel fanotify: no keeper, and holes would read as zeros");
    }
    FLOE_RETURN_IF_ERROR(options_.keeper->Check());
    return std::string(kFanotify);
  }
  if (options_.configured == kCachefiles) {
    return std::string(kCachefiles);
  }
  FLOE_ASSIGN_OR_RETURN(const Attachment attachment, PlainLocked());
  return std::string(attachment == Attachment::kFile ? kFuse : kFuseLoop);
}

Result<std::unique_ptr<OnDemandChannel>> Channels::Make(const std::string& name) {
  const ProbeResult probe = Tried(name);
  if (!probe.usable) {
    return FailedPrecondition("channel {}: {}", name, probe.detail);
  }
  if (name == kFanotify) {
    return FanotifyChannel::Create({.readers = options_.readers, .keeper = options_.keeper});
  }
  if (name != kCachefiles) {
    return FuseChannel::Create({.attachment = name == kFuse ? Attachment::kFile : Attachment::kLoop,
                                .readers = options_.readers,
                                .keeper = options_.keeper});
  }
  if (!HasCachefilesFixes()) {
    LogWarning("channel cachefiles: this kernel lacks fixes of its own memory safety");
  }
  if (probed_cachefiles_ == nullptr) {
    return FailedPrecondition("channel cachefiles: probed, and not kept");
  }
  return std::move(probed_cachefiles_);
}

std::string Channels::Compatible(const std::string& name) {
  for (const auto& [used, channel] : channels_) {
    if ((used == kCachefiles) != (name == kCachefiles)) {
      LogInfo("channel {} stays in use, until no mount needs it and this process ends", used);
      return used;
    }
  }
  return name;
}

Result<OnDemandChannel*> Channels::OnDemand() {
  const MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(std::string name, Choose());
  name = Compatible(name);
  auto known = channels_.find(name);
  if (known == channels_.end()) {
    FLOE_ASSIGN_OR_RETURN(auto made, Make(name));
    LogInfo("channel chosen name={} configured={}", name, options_.configured);
    known = channels_.emplace(name, std::move(made)).first;
  }
  return known->second.get();
}

Result<std::unique_ptr<OnDemandChannel>> Channels::Inherited(const std::string& name,
                                                             Inheritance& inheritance) {
  if (name == kCachefiles) {
    return CachefilesChannel::Create({.directory = options_.cachefiles_directory,
                                      .limits = options_.cull_limits,
                                      .keeper = options_.keeper,
                                      .held = inheritance.Take(CachefilesChannel::kHeldName)});
  }
  if (name == kFanotify) {
    if (inheritance.journal == nullptr) {
      return DataLoss("the journal of unanswered events is missing");
    }
    FanotifyChannel::Former former{.group = inheritance.Take(FanotifyChannel::kGroupName),
                                   .journal = std::move(inheritance.journal)};
    for (const auto& [key, fd] : inheritance.data_files) {
      former.keys.push_back(key);
    }
    return FanotifyChannel::TakeOver({.readers = options_.readers, .keeper = options_.keeper},
                                     std::move(former));
  }
  const auto names = FuseChannel::NamesOf(name);
  return FuseChannel::TakeOver(
      {.attachment = name == kFuse ? Attachment::kFile : Attachment::kLoop,
       .readers = options_.readers,
       .keeper = options_.keeper},
      {.device = inheritance.Take(names.device), .mount = inheritance.Take(names.mount)});
}

std::vector<OnDemandChannel*> Channels::TakeOver(Inheritance& inheritance) {
  const std::array<std::pair<const char*, std::vector<std::string>>, 4> known = {{
      {kFuse, {FuseChannel::NamesOf(kFuse).device, FuseChannel::NamesOf(kFuse).mount}},
      {kFuseLoop, {FuseChannel::NamesOf(kFuseLoop).device, FuseChannel::NamesOf(kFuseLoop).mount}},
      {kFanotify, {FanotifyChannel::kGroupName}},
      {kCachefiles, {CachefilesChannel::kHeldName}},
  }};
  std::vector<OnDemandChannel*> taken;
  const MutexLock lock(mutex_);
  for (const auto& [name, needed] : known) {
    const auto is_held = [&](const std::string& one) { return inheritance.held.contains(one); };
    if (std::ranges::none_of(needed, is_held)) {
      continue;
    }
    UniqueFd group;  // A copy: it must not be let go of when it cannot be taken over.
    if (needed.front() == FanotifyChannel::kGroupName) {
      group.Reset(::fcntl(inheritance.held.at(needed.front()).get(), F_DUPFD_CLOEXEC, 0));
    }
    // A process that died while it handed them to the keeper had not mounted anything yet.
    auto channel = std::ranges::all_of(needed, is_held)
                       ? Inherited(name, inheritance)
                       : Result<std::unique_ptr<OnDemandChannel>>(
                             FailedPrecondition("the keeper has only some of its descriptors"));
    if (channel) {
      taken.push_back(channel->get());
      channels_[name] = std::move(*channel);
      continue;
    }
    LogError("not taken over channel={} reason=\"{}\"", name, channel.error().message);
    if (group.valid()) {
      Abandon(needed.front(), std::move(group));
      continue;
    }
    for (const std::string& one : needed) {
      (void)inheritance.Take(one);
      options_.keeper->Release(one);
    }
  }
  for (auto& [name, fd] : inheritance.held) {
    if (name.starts_with(kAbandoned)) {
      abandoned_[name] = std::move(fd);
    }
  }
  inheritance.held.clear();
  return taken;
}

// Under a name of its own: what has the group's name gives way to the next one.
void Channels::Abandon(const std::string& name, UniqueFd group) {
  const std::string aside = fmt::format("{}{}", kAbandoned, ::getpid());
  if (auto kept = options_.keeper->Keep(aside, group.get()); !kept) {
    LogError("a lost group is only held by this process reason=\"{}\"", kept.error().message);
  }
  options_.keeper->Release(name);
  abandoned_[aside] = std::move(group);
}

void Channels::Forget(const std::string& key, int data_fd) {
  const MutexLock lock(mutex_);
  if (const auto used = channels_.find(kFanotify); used != channels_.end()) {
    used->second->Forget(key, data_fd);
  } else {
    options_.keeper->Release(std::string(FanotifyChannel::kBlobPrefix) + key);
  }
}

void Channels::DenyAbandoned() {
  const MutexLock lock(mutex_);
  for (auto& [name, group] : abandoned_) {
    FanotifyChannel::DenyAll(std::move(group));
    options_.keeper->Release(name);
  }
  abandoned_.clear();
}

std::vector<std::string> Channels::HandOver(const std::vector<std::string>& needed) {
  std::vector<std::string> left;
  const MutexLock lock(mutex_);
  for (const auto& [name, channel] : channels_) {
    if (std::ranges::find(needed, name) != needed.end() && channel->HandOver()) {
      left.push_back(name);
    }
  }
  return left;
}

ChannelCounters Channels::counters() {
  const MutexLock lock(mutex_);
  ChannelCounters all;
  for (const auto& [name, channel] : channels_) {
    const ChannelCounters one = channel->counters();
    all.opens += one.opens;
    all.opens_refused += one.opens_refused;
    all.reads += one.reads;
    all.closes += one.closes;
  }
  return all;
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
