#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/mutex.h"
#include "base/result.h"
#include "cachemgr/cache/blob_store.h"
#include "cachemgr/key_locks.h"
#include "cachemgr/mounts/channels.h"
#include "cachemgr/mounts/mount_record.h"

namespace floe::cachemgr {

/// The contract of CacheManager.Mount (proto/floe/cachemgr/v1) without its messages.
struct MountRequest {
  std::string id;
  std::filesystem::path bootstrap;
  Digest bootstrap_digest;
  std::vector<DeviceRequest> devices;
  std::filesystem::path target;
};
struct MountOutcome {
  std::string channel;
  bool already_mounted = false;
};
struct MountStatus {
  MountRecord record;
  bool live = false;
};

/// The mounts, as they are in the kernel and as mounts/<id>/ remembers them. A mount of the channel
/// "none" lives as long as the kernel has it; any other only together with the process that made
/// it. Thread-safe; calls for one id run one after the other.
class MountTable {
 public:
  /// `channels` and `blobs` must outlive this. `instance` names this process.
  MountTable(std::filesystem::path directory, std::string instance, Channels& channels,
             BlobStore& blobs);

  /// Reads the records of former processes; unreadable ones are logged and removed.
  Result<void> Load();
  /// After Load: the mounts that a former process made over a channel which this one has taken over
  /// are this process's from now on. What cannot be adopted is logged.
  void Adopt(CachefilesChannel& channel);
  /// All or nothing; never talks to a registry.
  Result<MountOutcome> Mount(const MountRequest& request);
  Result<void> Unmount(const std::string& id, bool detach);
  [[nodiscard]] std::vector<MountStatus> List() const;
  /// Tells the channel that a blob is complete now.
  void BlobCompleted(const std::string& key);
  /// Unmounts what needs this process and nobody uses; before it ends. Not those of
  /// `spared_channel` (empty: none), which the next process takes over.
  void UnmountUnused(const std::string& spared_channel);

 private:
  struct Entry {
    MountRecord record = {};
    // Of this process's mounts only. Slots of complete blobs are null.
    std::vector<std::unique_ptr<DeviceRegistration>> registrations = {};
  };

  [[nodiscard]] std::shared_ptr<const Entry> Find(const std::string& id) const;
  [[nodiscard]] bool IsLive(const MountRecord& record) const;
  Result<void> StoreBootstrap(const MountRequest& request) const;
  Result<std::shared_ptr<Entry>> MountAnew(const MountRequest& request, const std::string& target);
  Result<void> Attach(const MountRequest& request, const std::vector<std::shared_ptr<Blob>>& blobs,
                      Entry& entry);
  /// Registers the blob if `channel` (null: all are complete) has to serve it.
  Result<void> AdoptOne(CachefilesChannel& channel, const MountRecord& record);
  static Result<MountDevice> AddDevice(OnDemandChannel* channel, const std::shared_ptr<Blob>& blob,
                                       Entry& entry);
  Result<void> WriteRecord(const MountRecord& record) const;
  /// Takes our mount off the record's target if it is there. FailedPrecondition: busy.
  static Result<void> TakeOff(const MountRecord& record, int flags);
  Result<void> Drop(const std::string& id);

  const std::filesystem::path directory_;
  const std::string instance_;
  Channels& channels_;
  BlobStore& blobs_;
  KeyLocks ids_;
  mutable Mutex mutex_;
  std::map<std::string, std::shared_ptr<const Entry>> entries_ FLOE_GUARDED_BY(mutex_);
  /// Every blob that is known, after a take-over: detached mounts, which no record names, may still
  /// read them.
  std::vector<std::unique_ptr<DeviceRegistration>> adopted_;
};

}  // namespace floe::cachemgr
