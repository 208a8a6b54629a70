#include "cachemgr/mounts/mount_table.h"

#include <sys/mount.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "cachemgr/channel/plain_mount.h"
#include "cachemgr/mounts/mount_points.h"
#include "cachemgr/replace_file.h"
#include "erofs/reader.h"

namespace floe::cachemgr {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPlainChannel = "none";
constexpr uint64_t kMaxBootstrapBytes = 4ULL << 30U;

Result<void> CheckRequest(const MountRequest& request) {
  if (!IsMountId(request.id)) {
    return InvalidArgument("mount id \"{}\" is not [a-zA-Z0-9_.-]{{1,128}}", request.id);
  }
  if (!request.target.is_absolute()) {
    return InvalidArgument("target \"{}\" is not absolute", request.target.native());
  }
  for (const DeviceRequest& device : request.devices) {
    if (!IsDeviceKey(device.key)) {
      return InvalidArgument("device key \"{}\" is not 64 hex digits", device.key);
    }
    for (const Source& source : device.sources) {
      if (source.repository.registry.empty() || source.repository.path.empty()) {
        return InvalidArgument("device {} has a source without registry or repository", device.key);
      }
    }
  }
  return Ok();
}

Result<std::string> CheckTarget(const fs::path& target) {
  std::error_code error;
  const fs::path real = fs::canonical(target, error);
  if (error || !fs::is_directory(real, error)) {
    return InvalidArgument("target {} is not an existing directory", target.native());
  }
  return real.native();
}

// The bootstrap is what it says, fit for the kernel, and for exactly these devices.
Result<void> CheckBootstrap(const MountRequest& request, const std::string& bytes) {
  if (const Digest digest = Digest::Of(bytes); digest != request.bootstrap_digest) {
    return InvalidArgument("bootstrap {} has digest {}, not {}", request.bootstrap.native(),
                           digest.ToString(), request.bootstrap_digest.ToString());
  }
  FLOE_ASSIGN_OR_RETURN(const erofs::BootstrapReader reader, erofs::BootstrapReader::Open(bytes));
  FLOE_RETURN_IF_ERROR(reader.Validate());
  const auto& devices = reader.devices();
  if (devices.size() != request.devices.size()) {
    return InvalidArgument("the bootstrap has {} devices, the request {}", devices.size(),
                           request.devices.size());
  }
  for (size_t slot = 0; slot < devices.size(); ++slot) {
    if (devices[slot].tag != request.devices[slot].key) {
      return InvalidArgument("device {} of the bootstrap is {}, not {}", slot, devices[slot].tag,
                             request.devices[slot].key);
    }
  }
  return Ok();
}

// Runs lie inside the BlobMaps.
Result<void> CheckPrefetch(const MountRequest& request,
                           const std::vector<std::shared_ptr<Blob>>& blobs) {
  for (size_t slot = 0; slot < blobs.size(); ++slot) {
    const uint32_t units = blobs[slot]->map().unit_count();
    for (const image::PrefetchRun& run : request.devices[slot].prefetch) {
      if (run.unit_count == 0 || run.first_unit > units ||
          run.unit_count > units - run.first_unit) {
        return InvalidArgument("device {} has {} units, prefetch wants {}+{}", slot, units,
                               run.first_unit, run.unit_count);
      }
    }
  }
  return Ok();
}

Result<void> CheckSizes(const std::string& bytes, const std::vector<std::shared_ptr<Blob>>& blobs) {
  FLOE_ASSIGN_OR_RETURN(const erofs::BootstrapReader reader, erofs::BootstrapReader::Open(bytes));
  for (size_t slot = 0; slot < blobs.size(); ++slot) {
    const uint64_t mapped = blobs[slot]->map().device_size_bytes();
    if (reader.devices()[slot].size_bytes > mapped) {
      return InvalidArgument("device {} has {} bytes in the bootstrap, {} in its BlobMap", slot,
                             reader.devices()[slot].size_bytes, mapped);
    }
  }
  return Ok();
}

Error AsInvalid(Error error) {
  if (error.code == ErrorCode::kDataLoss || error.code == ErrorCode::kNotFound) {
    error.code = ErrorCode::kInvalidArgument;
  }
  return error;
}

bool SameImage(const MountRecord& record, const MountRequest& request, const std::string& target) {
  return record.target == target &&
         record.bootstrap_digest == request.bootstrap_digest.ToString() &&
         std::ranges::equal(record.keys, request.devices, {}, {}, &DeviceRequest::key);
}

// The next process finds the former record: it takes the mount over all the same.
void WarnUnless(const Result<void>& written) {
  if (!written) {
    LogWarning("mount record not written reason=\"{}\"", written.error().message);
  }
}

bool IsOurs(const std::optional<MountPoint>& found, const MountRecord& record) {
  return found && found->type == "erofs" && (record.device == 0 || found->device == record.device);
}

}  // namespace

MountTable::MountTable(const fs::path& root, std::string instance, std::string boot_id,
                       Channels& channels, BlobStore& blobs)
    : directory_(root / "mounts"),
      detached_directory_(root / "detached"),
      instance_(std::move(instance)),
      boot_id_(std::move(boot_id)),
      channels_(channels),
      blobs_(blobs) {}

// --- what former processes left ---

Result<MountTable::Entries> MountTable::LoadFrom(const fs::path& directory) const {
  FLOE_RETURN_IF_ERROR(CreateDirectories(directory));
  Entries entries;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    auto json = ReadFile(it->path() / "record.json");
    auto record = json ? DecodeMountRecord(*json) : Result<MountRecord>(json.error());
    if (!record) {
      LogWarning("mount record dropped path={}", it->path().native());
      FLOE_RETURN_IF_ERROR(RemoveTree(it->path()));
      continue;
    }
    entries[it->path().filename()] =
        std::make_shared<const Entry>(Entry{.record = std::move(*record)});
  }
  if (error) {
    return ErrnoError(error.value(), directory.native());
  }
  return entries;
}

Result<void> MountTable::Load() {
  FLOE_ASSIGN_OR_RETURN(Entries entries, LoadFrom(directory_));
  FLOE_ASSIGN_OR_RETURN(Entries detached, LoadFrom(detached_directory_));
  const MutexLock lock(mutex_);
  for (auto& [id, entry] : entries) {
    if (entry->record.id == id) {
      entries_.insert({id, std::move(entry)});
    }
  }
  detached_ = std::move(detached);
  return Ok();
}

void MountTable::Adopt(const std::vector<OnDemandChannel*>& taken_over) {
  Entries attached;
  Entries detached;
  {
    const MutexLock lock(mutex_);
    attached = entries_;
    detached = detached_;
  }
  const auto channel_of = [&](const Entry& entry) -> OnDemandChannel* {
    const auto found = std::ranges::find(taken_over, entry.record.channel, &OnDemandChannel::name);
    return found == taken_over.end() ? nullptr : *found;
  };
  for (const auto& [id, entry] : attached) {
    const MountRecord& record = entry->record;
    if (record.boot_id == boot_id_ && record.device == 0) {
      TakeOffHalfMade(id, *entry);
      continue;
    }
    if (!IsOfThisBoot(record)) {
      continue;
    }
    const auto found = CurrentMountPoint(record.target);
    if (found && IsOurs(*found, record)) {
      AdoptOne(directory_ / id, *entry, channel_of(*entry));
    } else if (SuperblockIsAlive(record.device)) {
      // Its process was killed between taking it off and remembering so.
      if (auto moved = MoveToDetached(id, entry); !moved) {
        LogError("detached mount not remembered id={} reason=\"{}\"", id, moved.error().message);
      }
    }
  }
  {
    const MutexLock lock(mutex_);
    detached = detached_;
  }
  for (const auto& [name, entry] : detached) {
    if (IsOfThisBoot(entry->record) && SuperblockIsAlive(entry->record.device)) {
      AdoptOne(detached_directory_ / name, *entry, channel_of(*entry));
    }
  }
  ReleaseGone();
}

void MountTable::TakeOffHalfMade(const std::string& id, const Entry& former) {
  auto entry = std::make_shared<Entry>(Entry{.record = former.record});
  const auto found = CurrentMountPoint(former.record.target).value_or(std::nullopt);
  if (found && IsOurs(found, former.record)) {
    entry->record.device = found->device;
    (void)WriteRecord(directory_ / id, entry->record);
  }
  {
    const MutexLock lock(mutex_);
    entries_[id] = entry;
  }
  auto off = TakeOff(entry->record, MNT_DETACH);
  if (off) {
    off = Drop(id);
  }
  LogInfo("half-made mount taken off id={} outcome=\"{}\"", id, off ? "done" : off.error().message);
}

std::set<std::string> MountTable::KeysInUse() const {
  std::set<std::string> keys;
  const MutexLock lock(mutex_);
  for (const Entries* some : {&entries_, &detached_}) {
    for (const auto& [id, entry] : *some) {
      if (IsOfThisBoot(entry->record) && SuperblockIsAlive(entry->record.device)) {
        keys.insert(entry->record.keys.begin(), entry->record.keys.end());
      }
    }
  }
  return keys;
}

bool MountTable::IsOfThisBoot(const MountRecord& record) const {
  return record.device != 0 && record.boot_id == boot_id_;
}

void MountTable::Replace(const fs::path& directory, std::shared_ptr<Entry> entry) {
  const MutexLock lock(mutex_);
  (directory.parent_path() == directory_ ? entries_ : detached_)[directory.filename()] =
      std::move(entry);
}

void MountTable::AdoptOne(const fs::path& directory, const Entry& former,
                          OnDemandChannel* channel) {
  if (former.record.channel == kPlainChannel) {
    return;
  }
  if (channel == nullptr) {
    FindLost(directory, former);
    return;
  }
  auto entry = std::make_shared<Entry>(Entry{.record = former.record});
  auto spec = RegisterAll(directory, *channel, *entry);
  Result<void> adopted = spec ? channel->Adopt(*spec, former.record.device) : spec.error();
  if (adopted) {
    entry->record.instance = instance_;
    WarnUnless(WriteRecord(directory, entry->record));
  }
  // What was registered stays so in any case: the kernel reads it.
  if (adopted) {
    LogInfo("mount adopted id={} channel={} target={}", former.record.id, channel->name(),
            former.record.target);
  } else {
    has_unwatched_ = true;
    LogError("mount not adopted id={} reason=\"{}\"", former.record.id, adopted.error().message);
  }
  Replace(directory, std::move(entry));
}

Result<MountSpec> MountTable::RegisterAll(const fs::path& directory, OnDemandChannel& channel,
                                          Entry& entry) {
  const MountRecord& record = entry.record;
  FLOE_ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(record.bootstrap_digest));
  MountSpec spec{
      .bootstrap = directory / "bootstrap", .bootstrap_digest = digest, .target = record.target};
  Result<void> outcome = Ok();
  for (const std::string& key : record.keys) {
    auto blob = blobs_.Acquire({.key = key});
    auto device = blob ? AddDevice(&channel, *blob, entry, /*is_mounted=*/true)
                       : Result<MountDevice>(blob.error());
    if (device) {
      spec.devices.push_back(std::move(*device));
    } else {
      entry.registrations.push_back(nullptr);  // Its slot.
      outcome = WithContext(device.error(), key);
    }
  }
  if (!outcome) {
    return outcome.error();
  }
  return spec;
}

void MountTable::FindLost(const fs::path& directory, const Entry& former) {
  const std::string& id = former.record.id;
  if (directory.parent_path() == directory_ && TakeOff(former.record, 0)) {
    LogInfo("mount of a former process taken off, unused id={} channel={} target={}", id,
            former.record.channel, former.record.target);
    (void)Drop(id);
    return;
  }
  if (former.record.channel != "fanotify") {
    return;  // Its reads fail.
  }
  LogError(
      "MOUNT LOST id={} target={}: nothing watched its files for a while, so what was not cached "
      "may have been read as zeros; end its containers and mount it anew",
      id, former.record.target);
  auto entry = std::make_shared<Entry>(Entry{.record = former.record});
  entry->record.lost = true;
  // From now on its reads are answered again.
  WarnUnless(WriteRecord(directory, entry->record));
  Result<void> watched = Ok();
  if (auto channel = channels_.OnDemand(); !channel) {
    watched = channel.error();
  } else if ((*channel)->name() != former.record.channel) {
    watched = FailedPrecondition("the channel in use is {}", (*channel)->name());
  } else if (auto spec = RegisterAll(directory, **channel, *entry); !spec) {
    watched = spec.error();
  }
  if (!watched) {
    has_unwatched_ = true;
    LogError("mount not watched again id={} reason=\"{}\"", id, watched.error().message);
  }
  Replace(directory, std::move(entry));
}

// --- calls ---

std::shared_ptr<const MountTable::Entry> MountTable::Find(const std::string& id) const {
  const MutexLock lock(mutex_);
  auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : found->second;
}

bool MountTable::IsLive(const MountRecord& record) const {
  if (record.device == 0 || record.lost ||
      (record.channel != kPlainChannel && record.instance != instance_)) {
    return false;
  }
  const auto found = CurrentMountPoint(record.target);
  return found && IsOurs(*found, record);
}

Result<MountOutcome> MountTable::Mount(const MountRequest& request) {
  FLOE_RETURN_IF_ERROR(CheckRequest(request));
  FLOE_ASSIGN_OR_RETURN(const std::string target, CheckTarget(request.target));
  const KeyLocks::Holder holder(ids_, request.id);
  if (const auto known = Find(request.id); known != nullptr) {
    if (IsLive(known->record)) {
      if (!SameImage(known->record, request, target)) {
        return AlreadyExists("mount {} is live with another image or target", request.id);
      }
      // Where the blobs are may have changed all the same.
      for (const DeviceRequest& device : request.devices) {
        FLOE_RETURN_IF_ERROR(blobs_.Acquire(device));
      }
      return MountOutcome{.channel = known->record.channel, .already_mounted = true};
    }
    LogInfo("dead mount detached id={} target={}", request.id, known->record.target);
    FLOE_RETURN_IF_ERROR(TakeOff(known->record, MNT_DETACH));
    FLOE_RETURN_IF_ERROR(Drop(request.id));
  }
  auto entry = MountAnew(request, target);
  if (!entry) {
    (void)RemoveTree(directory_ / request.id);
    return entry.error();
  }
  LogInfo("mounted id={} channel={} devices={} target={}", request.id, (*entry)->record.channel,
          request.devices.size(), target);
  for (size_t slot = 0; slot < request.devices.size(); ++slot) {
    (*entry)->blobs[slot]->Prefetch(request.devices[slot].prefetch);
  }
  MountOutcome outcome{.channel = (*entry)->record.channel};
  const MutexLock lock(mutex_);
  entries_[request.id] = std::move(*entry);
  return outcome;
}

Result<std::shared_ptr<MountTable::Entry>> MountTable::MountAnew(const MountRequest& request,
                                                                 const std::string& target) {
  auto bytes = ReadFile(request.bootstrap, kMaxBootstrapBytes);
  if (!bytes) {
    return AsInvalid(WithContext(bytes.error(), "bootstrap"));
  }
  if (auto checked = CheckBootstrap(request, *bytes); !checked) {
    return AsInvalid(WithContext(checked.error(), "bootstrap"));
  }
  std::vector<std::shared_ptr<Blob>> blobs;
  for (const DeviceRequest& device : request.devices) {
    FLOE_ASSIGN_OR_RETURN(std::shared_ptr<Blob> blob, blobs_.Acquire(device));
    blobs.push_back(std::move(blob));
  }
  FLOE_RETURN_IF_ERROR(CheckSizes(*bytes, blobs));
  FLOE_RETURN_IF_ERROR(CheckPrefetch(request, blobs));
  FLOE_RETURN_IF_ERROR(CreateDirectories(directory_ / request.id));
  FLOE_RETURN_IF_ERROR(ReplaceFile(directory_ / request.id / "bootstrap", *bytes));

  auto entry = std::make_shared<Entry>();
  entry->record = {.id = request.id,
                   .target = target,
                   .bootstrap_digest = request.bootstrap_digest.ToString(),
                   .instance = instance_,
                   .boot_id = boot_id_,
                   .layers = request.layers};
  std::ranges::transform(request.devices, std::back_inserter(entry->record.keys),
                         &DeviceRequest::key);
  FLOE_RETURN_IF_ERROR(Attach(request, blobs, *entry));
  return entry;
}

Result<void> MountTable::Attach(const MountRequest& request,
                                const std::vector<std::shared_ptr<Blob>>& blobs, Entry& entry) {
  // A blob whose last group came a moment ago is complete once it is synced; a layer that was
  // streamed does not wait for that.
  for (const auto& blob : blobs) {
    if (blob->cache().AllPresent() && !blob->cache().IsMountable()) {
      FLOE_RETURN_IF_ERROR(blob->cache().Checkpoint());
    }
  }
  const bool plain =
      std::ranges::all_of(blobs, [](const auto& blob) { return blob->cache().IsMountable(); });
  OnDemandChannel* channel = nullptr;
  if (!plain) {
    FLOE_ASSIGN_OR_RETURN(channel, channels_.OnDemand());
  }
  entry.record.channel = plain ? kPlainChannel : std::string(channel->name());
  MountSpec spec{.bootstrap = directory_ / request.id / "bootstrap",
                 .bootstrap_digest = request.bootstrap_digest,
                 .target = entry.record.target};
  for (const auto& blob : blobs) {
    FLOE_ASSIGN_OR_RETURN(MountDevice device,
                          AddDevice(channel, blob, entry, /*is_mounted=*/false));
    spec.devices.push_back(std::move(device));
  }
  // The record first: a mount that nobody remembers could not be taken off.
  FLOE_RETURN_IF_ERROR(WriteRecord(directory_ / request.id, entry.record));
  if (plain) {
    FLOE_ASSIGN_OR_RETURN(const Attachment attachment, channels_.Plain());
    FLOE_ASSIGN_OR_RETURN(entry.record.device, MountPlain(spec, attachment));
  } else {
    FLOE_ASSIGN_OR_RETURN(entry.record.device, channel->Mount(spec));
  }
  if (auto written = WriteRecord(directory_ / request.id, entry.record); !written) {
    (void)TakeOff(entry.record, MNT_DETACH);
    return written;
  }
  return Ok();
}

Result<MountDevice> MountTable::AddDevice(OnDemandChannel* channel,
                                          const std::shared_ptr<Blob>& blob, Entry& entry,
                                          bool is_mounted) {
  MountDevice device{.key = blob->map().key(),
                     .size_bytes = AlignUp(blob->map().device_size_bytes(), kBlockBytes),
                     .data_fd = blob->cache().data_fd()};
  std::unique_ptr<DeviceRegistration> registration;
  const bool as_it_is = blob->cache().IsMountable() && !is_mounted &&
                        (channel == nullptr || channel->MixesWithPlainFiles());
  if (!as_it_is) {
    FLOE_ASSIGN_OR_RETURN(
        registration,
        channel->Register(
            {.key = device.key, .size_bytes = device.size_bytes, .data_fd = device.data_fd}, blob));
    device.registration = registration.get();
    if (blob->cache().complete()) {
      registration->Completed();
    }
  }
  entry.registrations.push_back(std::move(registration));
  entry.blobs.push_back(blob);
  return device;
}

Result<void> MountTable::WriteRecord(const fs::path& directory, const MountRecord& record) {
  return ReplaceFile(directory / "record.json", EncodeMountRecord(record));
}

Result<void> MountTable::TakeOff(const MountRecord& record, int flags) {
  FLOE_ASSIGN_OR_RETURN(const auto found, CurrentMountPoint(record.target));
  if (!IsOurs(found, record)) {
    return Ok();
  }
  if (::umount2(record.target.c_str(), flags | UMOUNT_NOFOLLOW) != 0) {
    if (errno == EBUSY) {
      return FailedPrecondition("{} is busy", record.target);
    }
    return ErrnoError(errno, fmt::format("unmount {}", record.target));
  }
  return Ok();
}

Result<void> MountTable::Drop(const std::string& id) {
  const auto known = Find(id);
  if (known != nullptr && IsOfThisBoot(known->record) && SuperblockIsAlive(known->record.device)) {
    return MoveToDetached(id, known);
  }
  std::shared_ptr<const Entry> dropped;  // Withdraws its devices, without the lock.
  for (const std::string& key :
       known == nullptr ? std::vector<std::string>() : known->record.keys) {
    blobs_.Touch(key);
  }
  {
    const MutexLock lock(mutex_);
    if (auto found = entries_.find(id); found != entries_.end()) {
      dropped = std::move(found->second);
      entries_.erase(found);
    }
  }
  return RemoveTree(directory_ / id);
}

Result<void> MountTable::MoveToDetached(const std::string& id,
                                        const std::shared_ptr<const Entry>& entry) {
  std::string name;
  {
    const MutexLock lock(mutex_);
    for (int number = 0; name.empty() || detached_.contains(name); ++number) {
      name = fmt::format("{}-{}", entry->record.device, number);
    }
    entries_.erase(id);
    detached_[name] = entry;
  }
  LogInfo("mount detached and in use id={} device={}", id, entry->record.device);
  std::error_code error;
  fs::rename(directory_ / id, detached_directory_ / name, error);
  return error ? Result<void>(ErrnoError(error.value(), fmt::format("move mount {}", id))) : Ok();
}

void MountTable::ReleaseGone() {
  Entries gone;  // Withdraws their devices, without the lock.
  {
    const MutexLock lock(mutex_);
    for (auto it = detached_.begin(); it != detached_.end();) {
      const MountRecord& record = it->second->record;
      if (IsOfThisBoot(record) && SuperblockIsAlive(record.device)) {
        ++it;
      } else {
        gone.insert(detached_.extract(it++));
      }
    }
  }
  for (const auto& [name, entry] : gone) {
    if (auto removed = RemoveTree(detached_directory_ / name); !removed) {
      LogWarning("record of a mount that is gone not removed reason=\"{}\"",
                 removed.error().message);
    }
  }
}

Result<void> MountTable::Unmount(const std::string& id, bool detach) {
  if (!IsMountId(id)) {
    return InvalidArgument("mount id \"{}\" is not [a-zA-Z0-9_.-]{{1,128}}", id);
  }
  const KeyLocks::Holder holder(ids_, id);
  const auto known = Find(id);
  if (known == nullptr) {
    return Ok();
  }
  FLOE_RETURN_IF_ERROR(TakeOff(known->record, detach ? MNT_DETACH : 0));
  LogInfo("unmounted id={} target={}", id, known->record.target);
  return Drop(id);
}

std::vector<MountStatus> MountTable::List() const {
  Entries attached;
  Entries detached;
  {
    const MutexLock lock(mutex_);
    attached = entries_;
    detached = detached_;
  }
  std::vector<MountStatus> list;
  list.reserve(attached.size() + detached.size());
  for (const auto& [id, entry] : attached) {
    list.push_back({.record = entry->record, .live = IsLive(entry->record)});
  }
  for (const auto& [name, entry] : detached) {
    list.push_back({.record = entry->record, .detached = true});
  }
  return list;
}

void MountTable::BlobCompleted(const std::string& key) {
  std::vector<std::shared_ptr<const Entry>> users;
  {
    const MutexLock lock(mutex_);
    for (const Entries* some : {&entries_, &detached_}) {
      for (const auto& [id, entry] : *some) {
        if (!entry->registrations.empty()) {
          users.push_back(entry);
        }
      }
    }
  }
  for (const auto& entry : users) {
    for (size_t slot = 0; slot < entry->registrations.size(); ++slot) {
      if (entry->record.keys[slot] == key && entry->registrations[slot] != nullptr) {
        entry->registrations[slot]->Completed();
      }
    }
  }
}

std::vector<std::string> MountTable::ChannelsInUse() const {
  std::set<std::string> names;
  const MutexLock lock(mutex_);
  for (const Entries* some : {&entries_, &detached_}) {
    for (const auto& [id, entry] : *some) {
      const bool registered =
          std::ranges::any_of(entry->registrations, [](const auto& one) { return one != nullptr; });
      if (registered && SuperblockIsAlive(entry->record.device)) {
        names.insert(entry->record.channel);
      }
    }
  }
  return {names.begin(), names.end()};
}

void MountTable::UnmountUnused(const std::vector<std::string>& spared) {
  for (const MountStatus& mount : List()) {
    if (!mount.live || mount.record.channel == kPlainChannel ||
        std::ranges::find(spared, mount.record.channel) != spared.end()) {
      continue;
    }
    const KeyLocks::Holder holder(ids_, mount.record.id);
    if (auto done = TakeOff(mount.record, 0); !done) {
      LogWarning("mount left behind id={} reason=\"{}\"", mount.record.id, done.error().message);
    }
  }
}

}  // namespace floe::cachemgr
