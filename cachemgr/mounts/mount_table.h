#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <set>
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
  std::vector<LayerNote> layers = {};  ///< Bottom to top.
};
struct MountOutcome {
  std::string channel;
  bool already_mounted = false;
};
struct MountStatus {
  MountRecord record;
  bool live = false;
  bool detached = false;  ///< Taken off, and still in use.
};

/// The mounts, as they are in the kernel and as mounts/<id>/ remembers them. A mount of the channel
/// "none" lives as long as the kernel has it; any other as long as this process, or another that
/// took its channel over, answers for it. A mount that was taken off while files of it were open is
/// remembered in detached/ until the kernel lets go of it: its devices stay registered.
/// Thread-safe; calls for one id run one after the other.
class MountTable {
 public:
  /// `channels` and `blobs` must outlive this. `instance` names this process.
  MountTable(const std::filesystem::path& root, std::string instance, std::string boot_id,
             Channels& channels, BlobStore& blobs);

  /// Reads the records of former processes; unreadable ones are logged and removed.
  Result<void> Load();
  /// After Load: what the kernel has of former processes' mounts. Those over `taken_over` are this
  /// process's from now on; those that nobody watches any more are looked for (MountStatus::lost).
  void Adopt(const std::vector<OnDemandChannel*>& taken_over);
  /// Of mounts that the kernel has.
  [[nodiscard]] std::set<std::string> KeysInUse() const;
  /// After Adopt: a mount is there that nobody watches.
  [[nodiscard]] bool has_unwatched() const { return has_unwatched_; }
  /// All or nothing; never talks to a registry.
  Result<MountOutcome> Mount(const MountRequest& request);
  Result<void> Unmount(const std::string& id, bool detach);
  [[nodiscard]] std::vector<MountStatus> List() const;
  /// Tells the channel that a blob is complete now.
  void BlobCompleted(const std::string& key);
  /// Forgets the detached mounts that the kernel has let go of. Every now and then.
  void ReleaseGone();
  /// Channels that mounts need which the kernel still has.
  [[nodiscard]] std::vector<std::string> ChannelsInUse() const;
  /// Unmounts what needs this process and nobody uses; before it ends. Not those of the `spared`
  /// channels, which the next process takes over.
  void UnmountUnused(const std::vector<std::string>& spared);

 private:
  struct Entry {
    MountRecord record = {};
    std::vector<std::shared_ptr<Blob>> blobs =
        {};  ///< Of this process's mounts, by slot: not removed.
    // Of this process's mounts only. Slots of complete blobs are null.
    std::vector<std::unique_ptr<DeviceRegistration>> registrations = {};
  };
  using Entries = std::map<std::string, std::shared_ptr<const Entry>>;

  Result<Entries> LoadFrom(const std::filesystem::path& directory) const;
  [[nodiscard]] std::shared_ptr<const Entry> Find(const std::string& id) const;
  [[nodiscard]] bool IsLive(const MountRecord& record) const;
  [[nodiscard]] bool IsOfThisBoot(const MountRecord& record) const;
  Result<std::shared_ptr<Entry>> MountAnew(const MountRequest& request, const std::string& target);
  Result<void> Attach(const MountRequest& request, const std::vector<std::shared_ptr<Blob>>& blobs,
                      Entry& entry);
  /// Registers the blob if `channel` (null: all are complete) has to serve it.
  /// A complete one as well if the mount is there already: it may read through the channel.
  static Result<MountDevice> AddDevice(OnDemandChannel* channel, const std::shared_ptr<Blob>& blob,
                                       Entry& entry, bool is_mounted);
  static Result<void> WriteRecord(const std::filesystem::path& directory,
                                  const MountRecord& record);
  /// Takes our mount off the record's target if it is there. FailedPrecondition: busy.
  static Result<void> TakeOff(const MountRecord& record, int flags);
  /// After TakeOff: to detached/, or gone.
  Result<void> Drop(const std::string& id);
  Result<void> MoveToDetached(const std::string& id, const std::shared_ptr<const Entry>& entry);

  /// A mount that may have been made, and was never answered for: off.
  void TakeOffHalfMade(const std::string& id, const Entry& former);
  /// `directory`: that of its record, in mounts/ or detached/.
  void AdoptOne(const std::filesystem::path& directory, const Entry& former,
                OnDemandChannel* channel);
  /// The devices of a former process's mount. What cannot be registered is logged; what can is.
  Result<MountSpec> RegisterAll(const std::filesystem::path& directory, OnDemandChannel& channel,
                                Entry& entry);
  /// A mount whose channel nobody took over.
  void FindLost(const std::filesystem::path& directory, const Entry& former);
  void Replace(const std::filesystem::path& directory, std::shared_ptr<Entry> entry);

  const std::filesystem::path directory_;
  const std::filesystem::path detached_directory_;
  const std::string instance_;
  const std::string boot_id_;
  Channels& channels_;
  BlobStore& blobs_;
  KeyLocks ids_;
  bool has_unwatched_ = false;  ///< Set by Adopt.
  mutable Mutex mutex_;
  Entries entries_ FLOE_GUARDED_BY(mutex_);
  Entries detached_ FLOE_GUARDED_BY(mutex_);  ///< By the name of their directory.
};

}  // namespace floe::cachemgr
