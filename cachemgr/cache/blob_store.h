#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "cachemgr/cache/blob.h"
#include "cachemgr/key_locks.h"

namespace floe::cachemgr {

/// What a mount request says about one device.
struct DeviceRequest {
  std::string key;                      ///< 64 hex digits: sha256 of the BlobMap file.
  std::filesystem::path blob_map = {};  ///< Copied.
  std::vector<Source> sources = {};
  std::filesystem::path windows = {};  ///< Copied. Empty: the registry has them, or there are none.
  /// Fetched once a new mount is there; numbers are the BlobMap's.
  std::vector<image::PrefetchRun> prefetch = {};
};

/// A blob on the disk, open or not.
struct StoredBlob {
  std::string key;
  uint64_t disk_bytes = 0;  ///< That its data and windows occupy.
  std::filesystem::file_time_type last_used = {};
};

/// The blobs under <root>/blobs, one directory for each key. A blob is opened when it is first
/// asked for and stays open until it is removed. Thread-safe.
class BlobStore {
 public:
  /// `filler` and `counters` must outlive this and all blobs.
  BlobStore(std::filesystem::path directory, std::string boot_id, Filler& filler,
            Counters& counters)
      : directory_(std::move(directory)),
        boot_id_(std::move(boot_id)),
        filler_(filler),
        counters_(counters) {}

  /// Data files, by device key, that a former process had opened and may have marked: such a file
  /// must not be opened by its path (FanotifyChannel). Before the first blob is opened.
  void UseHeld(std::map<std::string, UniqueFd> held);
  /// Those of them whose blobs nobody has opened yet.
  std::map<std::string, UniqueFd> TakeUnopened();

  /// The blob of a request, registered if it was not known. InvalidArgument: the BlobMap is none,
  /// or not the one its key names; the windows are not those of the BlobMap.
  Result<std::shared_ptr<Blob>> Acquire(const DeviceRequest& request);
  /// A blob that was made beside the others: `made`, in the store's directory, has all its files,
  /// and all groups are present. It gets its name, unless the key is known already: then what the
  /// registered blob lacks is copied to it, but for one whose bytes a channel keeps
  /// (BlobCache::UseCacheFile), and `made` stays where it is. Does not wait for the disk: the next
  /// checkpoint makes it durable, and it can be mounted before (BlobCache::UseUnsynced).
  Result<std::shared_ptr<Blob>> Adopt(const std::string& key, const std::filesystem::path& made,
                                      const std::vector<Source>& sources);
  /// Of directories in which blobs are made; not those of registered blobs.
  static const std::string kHalfMadePrefix;

  /// Every blob in the directory; those that cannot be opened are logged and left out.
  std::vector<std::shared_ptr<Blob>> All();
  /// Every blob in the directory, none of them opened.
  [[nodiscard]] std::vector<StoredBlob> Stored() const;
  /// False, and it stays: somebody has it (a mount, a fill).
  Result<bool> Remove(const std::string& key);
  /// What processes that died left half-made or half-removed. At the start.
  void RemoveLeftovers() const;
  /// It was used just now: mounted, or unmounted.
  void Touch(const std::string& key) const;
  /// The blobs that are open.
  [[nodiscard]] std::vector<std::shared_ptr<Blob>> Opened() const;

 private:
  Result<std::shared_ptr<Blob>> Open(const std::string& key);
  /// Open, but for the checkpoint of what was left unfinished.
  Result<std::shared_ptr<Blob>> OpenUnsynced(const std::string& key);
  Result<void> StoreMap(const DeviceRequest& request) const;
  /// Known to this process, or from before a restart.
  Result<std::shared_ptr<Blob>> FindOrOpen(const std::string& key);
  [[nodiscard]] std::shared_ptr<Blob> Find(const std::string& key) const;

  const std::filesystem::path directory_;
  const std::string boot_id_;
  Filler& filler_;
  Counters& counters_;
  KeyLocks opening_;
  mutable Mutex mutex_;
  std::map<std::string, std::shared_ptr<Blob>> blobs_ FLOE_GUARDED_BY(mutex_);
  std::map<std::string, UniqueFd> held_ FLOE_GUARDED_BY(mutex_);
};

/// 64 lower-case hex digits.
bool IsDeviceKey(std::string_view key);

}  // namespace floe::cachemgr
