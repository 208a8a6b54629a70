#include "cachemgr/mounts/mount_table.h"

#include <sys/mount.h>

#include <algorithm>
#include <cerrno>
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

bool IsOurs(const std::optional<MountPoint>& found, const MountRecord& record) {
  return found && found->type == "erofs" && (record.device == 0 || found->device == record.device);
}

}  // namespace

MountTable::MountTable(fs::path directory, std::string instance, Channels& channels,
                       BlobStore& blobs)
    : directory_(std::move(directory)),
      instance_(std::move(instance)),
      channels_(channels),
      blobs_(blobs) {}

Result<void> MountTable::Load() {
  std::error_code error;
  for (fs::directory_iterator it(directory_, error), end; !error && it != end;
       it.increment(error)) {
    const std::string id = it->path().filename();
    auto json = ReadFile(it->path() / "record.json");
    auto record = json ? DecodeMountRecord(*json) : Result<MountRecord>(json.error());
    if (!record || record->id != id) {
      LogWarning("mount record dropped id={}", id);
      FLOE_RETURN_IF_ERROR(RemoveTree(it->path()));
      continue;
    }
    const MutexLock lock(mutex_);
    entries_[id] = std::make_shared<const Entry>(Entry{.record = std::move(*record)});
  }
  return error ? Result<void>(ErrnoError(error.value(), directory_.native())) : Ok();
}

void MountTable::Adopt(CachefilesChannel& channel) {
  for (const auto& blob : blobs_.All()) {
    Entry all;
    if (auto added = AddDevice(&channel, blob, all); !added) {
      LogError("blob not adopted key={} reason=\"{}\"", blob->map().key(), added.error().message);
    }
    std::ranges::move(all.registrations, std::back_inserter(adopted_));
  }
  std::vector<std::shared_ptr<const Entry>> known;
  {
    const MutexLock lock(mutex_);
    for (const auto& [id, entry] : entries_) {
      known.push_back(entry);
    }
  }
  for (const auto& former : known) {
    const MountRecord& record = former->record;
    const auto found = CurrentMountPoint(record.target);
    if (record.channel != channel.name() || record.device == 0 || !found ||
        !IsOurs(*found, record)) {
      continue;
    }
    if (auto adopted = AdoptOne(channel, record); adopted) {
      LogInfo("mount adopted id={} channel={} target={}", record.id, record.channel, record.target);
    } else {
      LogError("mount not adopted id={} reason=\"{}\"", record.id, adopted.error().message);
    }
  }
}

Result<void> MountTable::AdoptOne(CachefilesChannel& channel, const MountRecord& record) {
  FLOE_ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(record.bootstrap_digest));
  auto entry = std::make_shared<Entry>(Entry{.record = record});
  entry->record.instance = instance_;
  MountSpec spec{.bootstrap = directory_ / record.id / "bootstrap",
                 .bootstrap_digest = digest,
                 .target = record.target};
  for (const std::string& key : record.keys) {
    FLOE_ASSIGN_OR_RETURN(const auto blob, blobs_.Acquire({.key = key}));
    FLOE_ASSIGN_OR_RETURN(MountDevice device, AddDevice(&channel, blob, *entry));
    spec.devices.push_back(std::move(device));
  }
  FLOE_RETURN_IF_ERROR(channel.Adopt(spec, record.device));
  FLOE_RETURN_IF_ERROR(WriteRecord(entry->record));
  const MutexLock lock(mutex_);
  entries_[record.id] = std::move(entry);
  return Ok();
}

std::shared_ptr<const MountTable::Entry> MountTable::Find(const std::string& id) const {
  const MutexLock lock(mutex_);
  auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : found->second;
}

bool MountTable::IsLive(const MountRecord& record) const {
  if (record.device == 0 || (record.channel != kPlainChannel && record.instance != instance_)) {
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
  FLOE_RETURN_IF_ERROR(CreateDirectories(directory_ / request.id));
  FLOE_RETURN_IF_ERROR(ReplaceFile(directory_ / request.id / "bootstrap", *bytes));

  auto entry = std::make_shared<Entry>();
  entry->record = {.id = request.id,
                   .target = target,
                   .bootstrap_digest = request.bootstrap_digest.ToString(),
                   .instance = instance_};
  std::ranges::transform(request.devices, std::back_inserter(entry->record.keys),
                         &DeviceRequest::key);
  FLOE_RETURN_IF_ERROR(Attach(request, blobs, *entry));
  return entry;
}

Result<void> MountTable::Attach(const MountRequest& request,
                                const std::vector<std::shared_ptr<Blob>>& blobs, Entry& entry) {
  // A blob whose last group came a moment ago is complete once it is synced.
  for (const auto& blob : blobs) {
    if (blob->cache().AllPresent()) {
      FLOE_RETURN_IF_ERROR(blob->cache().Checkpoint());
    }
  }
  const bool plain =
      std::ranges::all_of(blobs, [](const auto& blob) { return blob->cache().complete(); });
  OnDemandChannel* channel = nullptr;
  if (!plain) {
    FLOE_ASSIGN_OR_RETURN(channel, channels_.OnDemand());
  }
  entry.record.channel = plain ? kPlainChannel : std::string(channel->name());
  MountSpec spec{.bootstrap = directory_ / request.id / "bootstrap",
                 .bootstrap_digest = request.bootstrap_digest,
                 .target = entry.record.target};
  for (const auto& blob : blobs) {
    FLOE_ASSIGN_OR_RETURN(MountDevice device, AddDevice(channel, blob, entry));
    spec.devices.push_back(std::move(device));
  }
  // The record first: a mount that nobody remembers could not be taken off.
  FLOE_RETURN_IF_ERROR(WriteRecord(entry.record));
  if (plain) {
    FLOE_ASSIGN_OR_RETURN(const Attachment attachment, channels_.Plain());
    FLOE_ASSIGN_OR_RETURN(entry.record.device, MountPlain(spec, attachment));
  } else {
    FLOE_ASSIGN_OR_RETURN(entry.record.device, channel->Mount(spec));
  }
  if (auto written = WriteRecord(entry.record); !written) {
    (void)TakeOff(entry.record, MNT_DETACH);
    return written;
  }
  return Ok();
}

Result<MountDevice> MountTable::AddDevice(OnDemandChannel* channel,
                                          const std::shared_ptr<Blob>& blob, Entry& entry) {
  MountDevice device{.key = blob->map().key(),
                     .size_bytes = AlignUp(blob->map().device_size_bytes(), kBlockBytes),
                     .data_fd = blob->cache().data_fd()};
  std::unique_ptr<DeviceRegistration> registration;
  if (channel != nullptr && !(blob->cache().complete() && channel->MixesWithPlainFiles())) {
    FLOE_ASSIGN_OR_RETURN(
        registration,
        channel->Register(
            {.key = device.key, .size_bytes = device.size_bytes, .data_fd = device.data_fd}, blob));
    device.registration = registration.get();
  }
  entry.registrations.push_back(std::move(registration));
  return device;
}

Result<void> MountTable::WriteRecord(const MountRecord& record) const {
  return ReplaceFile(directory_ / record.id / "record.json", EncodeMountRecord(record));
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
  std::shared_ptr<const Entry> dropped;  // Withdraws its devices, without the lock.
  {
    const MutexLock lock(mutex_);
    if (auto found = entries_.find(id); found != entries_.end()) {
      dropped = std::move(found->second);
      entries_.erase(found);
    }
  }
  return RemoveTree(directory_ / id);
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
  std::vector<std::shared_ptr<const Entry>> entries;
  {
    const MutexLock lock(mutex_);
    entries.reserve(entries_.size());
    for (const auto& [id, entry] : entries_) {
      entries.push_back(entry);
    }
  }
  std::vector<MountStatus> list;
  list.reserve(entries.size());
  for (const auto& entry : entries) {
    list.push_back({.record = entry->record, .live = IsLive(entry->record)});
  }
  return list;
}

void MountTable::BlobCompleted(const std::string& key) {
  const MutexLock lock(mutex_);
  for (const auto& [id, entry] : entries_) {
    for (size_t slot = 0; slot < entry->registrations.size(); ++slot) {
      if (entry->record.keys[slot] == key && entry->registrations[slot] != nullptr) {
        entry->registrations[slot]->Completed();
      }
    }
  }
}

void MountTable::UnmountUnused(const std::string& spared_channel) {
  for (const MountStatus& mount : List()) {
    if (!mount.live || mount.record.channel == kPlainChannel ||
        mount.record.channel == spared_channel) {
      continue;
    }
    const KeyLocks::Holder holder(ids_, mount.record.id);
    if (auto done = TakeOff(mount.record, 0); !done) {
      LogWarning("mount left behind id={} reason=\"{}\"", mount.record.id, done.error().message);
    }
  }
}

}  // namespace floe::cachemgr
