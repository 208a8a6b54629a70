#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/byte_range.h"
#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "cachemgr/cache/presence_file.h"
#include "cachemgr/cache/shared_blocks.h"
#include "cachemgr/channel/cache_file.h"
#include "image/blob_map.h"

namespace floe::cachemgr {

/// The local bytes of one blob's device: a sparse data file, which groups of it are present, and
/// whether it is complete. Files in its directory: data, presence, complete (docs/cache.md).
/// Thread-safe; questions about presence take no lock.
///
/// Present means: verified and written. The order is always data, presence on disk, presence in
/// memory, reply: so after kill -9 nothing that was served is fetched again, and after a power cut
/// only what was synced counts.
class BlobCache {
 public:
  /// `map` must outlive this. Creates what is missing; a data file of another size, and presence
  /// that cannot be trusted, start anew. `held`: the data file, opened by a former process; used
  /// where it still is the file in the directory.
  static Result<std::unique_ptr<BlobCache>> Open(const std::filesystem::path& directory,
                                                 const image::BlobMap& map,
                                                 const std::string& boot_id, UniqueFd held = {});

  [[nodiscard]] bool IsGroupPresent(uint32_t group) const {
    return (words_[group / kGroupsPerWord].load(std::memory_order_acquire) >>
                (group % kGroupsPerWord) &
            1U) != 0;
  }
  /// Device bytes that no extent covers are always present.
  [[nodiscard]] bool IsPresent(ByteRange range) const { return IsPresent(range, std::nullopt); }
  /// The same of what one unit provides of the range.
  [[nodiscard]] bool IsPresentOf(uint32_t unit, ByteRange range) const {
    return IsPresent(range, unit);
  }
  /// Units that a demand for `range` needs: sorted, unique. Not those of held groups
  /// (SharedBlocks), whose bytes are here and only wait for their neighbours.
  [[nodiscard]] std::vector<uint32_t> AbsentUnits(ByteRange range) const;
  /// Whole blocks of the range that no extent covers: they read as zeros.
  [[nodiscard]] std::vector<ByteRange> Blanks(ByteRange range) const;
  /// Verified, and written but for blocks that wait for other groups (SharedBlocks).
  [[nodiscard]] bool IsGroupHeld(uint32_t group) const;
  /// One or the other.
  [[nodiscard]] bool IsGroupPresentOrHeld(uint32_t group) const;
  /// Present or held, all of it: nothing of it is to be fetched.
  [[nodiscard]] bool IsUnitPresent(uint32_t unit) const;
  [[nodiscard]] bool AllPresent() const { return absent_groups_.load() == 0; }
  /// All present, synced and marked so on disk: the data file can be mounted as it is.
  [[nodiscard]] bool complete() const { return complete_.load(); }

  /// All of it was put there at once, and becomes durable with the next checkpoint: until then it
  /// can be mounted as it is, too. It is this boot's page cache that a mount reads.
  void UseUnsynced() { usable_unsynced_ = true; }
  /// The data file can be mounted as it is.
  [[nodiscard]] bool IsMountable() const {
    return complete() || (usable_unsynced_.load() && AllPresent());
  }

  /// Where fills write: the data file, or what UseCacheFile put in its place.
  struct Target {
    std::shared_ptr<CacheFile> file;
    std::shared_ptr<SharedBlocks> shared;  ///< Null unless a written block counts as present.
  };
  [[nodiscard]] Target target() const;
  /// After all extents of these groups were written to `file`. False, and nothing is marked, when
  /// `file` is not the cache file any more: write it all to the new one.
  [[nodiscard]] bool MarkPresent(std::span<const uint32_t> groups, const CacheFile& file);
  /// From now on `file` holds the bytes, of which `present` (sorted, apart from each other) are
  /// there; this cache never becomes complete by itself then.
  void UseCacheFile(std::shared_ptr<CacheFile> file, const std::vector<ByteRange>& present);

  /// Makes what is present now durable (data first); marks the blob complete when all is. Waits for
  /// the disk. Cheap when nothing changed.
  Result<void> Checkpoint();

  [[nodiscard]] int data_fd() const { return data_fd_.get(); }
  /// Device bytes that are present, zeros between extents included.
  [[nodiscard]] uint64_t present_bytes() const { return present_bytes_.load(); }
  /// What the data file occupies.
  [[nodiscard]] uint64_t DiskBytes() const;

 private:
  BlobCache(std::filesystem::path directory, const image::BlobMap& map, UniqueFd data_fd,
            std::unique_ptr<PresenceFile> presence);
  [[nodiscard]] bool IsPresent(ByteRange range, std::optional<uint32_t> unit) const;
  /// Null for most cache files; takes no lock to say so.
  [[nodiscard]] std::shared_ptr<SharedBlocks> shared_blocks() const;
  void SetInMemory(uint32_t group) FLOE_REQUIRES(mutex_);
  void StoreAll(std::span<const uint32_t> words) FLOE_REQUIRES(mutex_);
  [[nodiscard]] std::vector<uint32_t> Words(uint32_t first_word, uint32_t count) const;
  /// Data, then what says that it is there.
  Result<void> Persist(CacheFile& file, std::span<const uint32_t> words, bool all_present)
      FLOE_REQUIRES(checkpoint_mutex_);
  Result<void> MarkComplete();

  // Constant.
  const std::filesystem::path directory_;
  const image::BlobMap& map_;
  const UniqueFd data_fd_;
  const std::unique_ptr<PresenceFile> presence_;  // Null when complete at Open.

  std::vector<std::atomic<uint32_t>> words_;  // Set under mutex_, read without.
  std::atomic<uint32_t> absent_groups_ = 0;
  std::atomic<uint64_t> present_bytes_ = 0;
  std::atomic<bool> complete_ = false;
  std::atomic<bool> usable_unsynced_ = false;

  Mutex checkpoint_mutex_;  // One checkpoint at a time; taken before mutex_.
  bool names_synced_ FLOE_GUARDED_BY(checkpoint_mutex_) = false;  // Of the files in directory_.
  // Held by fill workers for the write of one presence word; readers never take it.
  mutable Mutex mutex_;
  Target target_ FLOE_GUARDED_BY(mutex_);
  std::atomic<bool> shares_blocks_ = false;  // target_.shared is there: worth the lock.
  bool own_file_ FLOE_GUARDED_BY(mutex_) = true;
  bool dirty_ FLOE_GUARDED_BY(mutex_) = false;
};

}  // namespace floe::cachemgr
