#include "cachemgr/cache/blob_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "base/file.h"
#include "base/log.h"

namespace floe::cachemgr {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMarkerName = "complete";
constexpr const char* kPresenceName = "presence";

class DataFile final : public CacheFile {
 public:
  explicit DataFile(int fd) : fd_(fd) {}  // `fd` belongs to the BlobCache, which owns this too.
  [[nodiscard]] WriteRules rules() const override { return {}; }
  Result<void> Write(std::span<const std::byte> bytes, uint64_t offset) override {
    return PwriteAll(fd_, bytes, offset);
  }
  Result<void> Sync() override {
    if (::fdatasync(fd_) != 0) {
      return ErrnoError(errno, "sync the data file");
    }
    return Ok();
  }

 private:
  const int fd_;
};

struct OpenedData {
  UniqueFd fd;
  uint64_t inode = 0;
};

bool IsFileAt(int fd, const fs::path& path) {
  struct stat open{};
  struct stat named{};
  return fd >= 0 && ::fstat(fd, &open) == 0 && ::stat(path.c_str(), &named) == 0 &&
         open.st_dev == named.st_dev && open.st_ino == named.st_ino;
}

// Durably: it must never stand beside another data file.
Result<void> ForgetPresence(const fs::path& directory) {
  bool found = false;
  for (const char* name : {kMarkerName, kPresenceName}) {
    std::error_code ignored;
    found = fs::exists(directory / name, ignored) || found;
    FLOE_RETURN_IF_ERROR(RemoveFile(directory / name));
  }
  return found ? SyncDirectory(directory) : Ok();
}

// The data file has the device's size from the start: nothing ever extends it.
Result<OpenedData> OpenData(const fs::path& directory, uint64_t size_bytes, UniqueFd held) {
  const fs::path path = directory / "data";
  OpenedData data;
  if (IsFileAt(held.get(), path)) {
    data.fd = std::move(held);
  } else {
    FLOE_ASSIGN_OR_RETURN(data.fd, OpenFile(path, O_RDWR | O_CREAT));
  }
  struct stat status{};
  if (::fstat(data.fd.get(), &status) != 0) {
    return ErrnoError(errno, fmt::format("stat {}", path.native()));
  }
  data.inode = status.st_ino;
  if (std::cmp_equal(status.st_size, size_bytes)) {
    return data;
  }
  FLOE_RETURN_IF_ERROR(ForgetPresence(directory));
  if (::ftruncate(data.fd.get(), 0) != 0 ||
      ::ftruncate(data.fd.get(), static_cast<off_t>(size_bytes)) != 0) {
    return ErrnoError(errno, fmt::format("set the size of {}", path.native()));
  }
  return data;
}

std::string CompleteMarker(const image::BlobMap& map) {
  return fmt::format("floe complete blob 1\nkey {}\nbytes {}\n", map.key(),
                     map.device_size_bytes());
}

bool Covers(const std::vector<ByteRange>& sorted, ByteRange wanted) {
  const auto next = std::ranges::upper_bound(sorted, wanted.offset, {}, &ByteRange::offset);
  return next != sorted.begin() && std::prev(next)->Contains(wanted);
}

}  // namespace

Result<std::unique_ptr<BlobCache>> BlobCache::Open(const fs::path& directory,
                                                   const image::BlobMap& map,
                                                   const std::string& boot_id, UniqueFd held) {
  const uint64_t size_bytes = AlignUp(map.device_size_bytes(), kBlockBytes);
  FLOE_ASSIGN_OR_RETURN(OpenedData data, OpenData(directory, size_bytes, std::move(held)));
  const fs::path marker_path = directory / kMarkerName;
  bool complete = false;
  if (auto marker = ReadFile(marker_path); marker.has_value()) {
    complete = *marker == CompleteMarker(map);
    if (!complete) {
      LogWarning("complete marker ignored key={}", map.key());
      FLOE_RETURN_IF_ERROR(RemoveFile(marker_path));
    }
  }
  std::unique_ptr<PresenceFile> presence;
  if (!complete) {
    FLOE_ASSIGN_OR_RETURN(
        presence, PresenceFile::Open(directory / kPresenceName, {.key = map.key(),
                                                                 .group_count = map.group_count(),
                                                                 .data_inode = data.inode,
                                                                 .boot_id = boot_id}));
  }
  std::unique_ptr<BlobCache> cache(
      new BlobCache(directory, map, std::move(data.fd), std::move(presence)));
  cache->complete_ = complete;
  return cache;
}

BlobCache::BlobCache(fs::path directory, const image::BlobMap& map, UniqueFd data_fd,
                     std::unique_ptr<PresenceFile> presence)
    : directory_(std::move(directory)),
      map_(map),
      data_fd_(std::move(data_fd)),
      presence_(std::move(presence)),
      words_((map.group_count() + kGroupsPerWord - 1) / kGroupsPerWord) {
  const MutexLock lock(mutex_);
  target_.file = std::make_shared<DataFile>(data_fd_.get());
  if (presence_ != nullptr) {
    StoreAll(presence_->words());
  } else {
    StoreAll(std::vector<uint32_t>(words_.size(), UINT32_MAX));
  }
  dirty_ = AllPresent() || (presence_ != nullptr && presence_->has_unsynced());
}

void BlobCache::StoreAll(std::span<const uint32_t> words) {
  std::vector<uint32_t> effective(words.begin(), words.end());
  uint32_t absent = 0;
  uint64_t present_bytes = map_.device_size_bytes();
  for (uint32_t group = 0; group < map_.group_count(); ++group) {
    uint32_t& word = effective[group / kGroupsPerWord];
    const uint32_t bit = 1U << (group % kGroupsPerWord);
    const image::GroupView view = map_.group(group);
    if (view.extent_count == 0) {
      word |= bit;  // Nothing of it is visible, so nothing will ever ask for it.
    }
    if ((word & bit) != 0) {
      continue;
    }
    ++absent;
    for (uint32_t n = 0; n < view.extent_count; ++n) {
      present_bytes -= map_.GroupExtent(view, n).length;
    }
  }
  absent_groups_ = UINT32_MAX;  // Nobody may take the old words' "all present" for the new ones'.
  for (size_t i = 0; i < words_.size(); ++i) {
    words_[i].store(effective[i], std::memory_order_release);
  }
  absent_groups_ = absent;
  present_bytes_ = present_bytes;
}

bool BlobCache::IsPresent(ByteRange range, std::optional<uint32_t> unit) const {
  if (AllPresent()) {
    return true;
  }
  const std::shared_ptr<SharedBlocks> shared = shared_blocks();
  for (uint32_t i = map_.FirstExtentEndingAfter(range.offset); i < map_.extent_count(); ++i) {
    const image::ExtentView extent = map_.extent(i);
    if (extent.device_offset >= range.end()) {
      break;
    }
    if (unit && map_.group(extent.group).unit != *unit) {
      continue;
    }
    // A held group may become a present one between two looks, so there is a third.
    const bool written = IsGroupPresent(extent.group) ||
                         (shared != nullptr &&
                          (shared->IsWritten(extent.group, range) || IsGroupPresent(extent.group)));
    if (!written) {
      return false;
    }
  }
  return true;
}

std::shared_ptr<SharedBlocks> BlobCache::shared_blocks() const {
  return shares_blocks_ ? target().shared : nullptr;
}

std::vector<ByteRange> BlobCache::Blanks(ByteRange range) const {
  std::vector<ByteRange> blanks;
  uint64_t at = AlignDown(range.offset, kBlockBytes);
  const uint64_t end = AlignUp(range.end(), kBlockBytes);
  for (uint32_t i = map_.FirstExtentEndingAfter(at); at < end && i < map_.extent_count(); ++i) {
    const image::ExtentView extent = map_.extent(i);
    const uint64_t next = std::min(end, AlignDown(extent.device_offset, kBlockBytes));
    if (next > at) {
      blanks.push_back({.offset = at, .length = next - at});
    }
    at = std::max(at, AlignUp(extent.device_offset + extent.length, kBlockBytes));
  }
  if (at < end) {
    blanks.push_back({.offset = at, .length = end - at});
  }
  return blanks;
}

std::vector<uint32_t> BlobCache::AbsentUnits(ByteRange range) const {
  std::vector<uint32_t> units;
  for (uint32_t i = map_.FirstExtentEndingAfter(range.offset); i < map_.extent_count(); ++i) {
    const image::ExtentView extent = map_.extent(i);
    if (extent.device_offset >= range.end()) {
      break;
    }
    if (!IsGroupPresentOrHeld(extent.group)) {
      units.push_back(map_.group(extent.group).unit);
    }
  }
  std::ranges::sort(units);
  units.erase(std::ranges::unique(units).begin(), units.end());
  return units;
}

bool BlobCache::IsGroupHeld(uint32_t group) const {
  const std::shared_ptr<SharedBlocks> shared = shared_blocks();
  return shared != nullptr && shared->IsHeld(group);
}

// A held group may become a present one between two looks, so there is a third.
bool BlobCache::IsGroupPresentOrHeld(uint32_t group) const {
  return IsGroupPresent(group) || (shares_blocks_ && (IsGroupHeld(group) || IsGroupPresent(group)));
}

bool BlobCache::IsUnitPresent(uint32_t unit) const {
  const image::UnitView view = map_.unit(unit);
  for (uint32_t n = 0; n < view.group_count; ++n) {
    if (!IsGroupPresentOrHeld(view.first_group + n)) {
      return false;
    }
  }
  return true;
}

BlobCache::Target BlobCache::target() const {
  const MutexLock lock(mutex_);
  return target_;
}

std::vector<uint32_t> BlobCache::Words(uint32_t first_word, uint32_t count) const {
  std::vector<uint32_t> words(count);
  for (uint32_t i = 0; i < count; ++i) {
    words[i] = words_[first_word + i].load(std::memory_order_acquire);
  }
  return words;
}

void BlobCache::SetInMemory(uint32_t group) {
  const uint32_t bit = 1U << (group % kGroupsPerWord);
  if ((words_[group / kGroupsPerWord].fetch_or(bit, std::memory_order_acq_rel) & bit) != 0) {
    return;
  }
  const image::GroupView view = map_.group(group);
  for (uint32_t n = 0; n < view.extent_count; ++n) {
    present_bytes_ += map_.GroupExtent(view, n).length;
  }
  --absent_groups_;
}

bool BlobCache::MarkPresent(std::span<const uint32_t> groups, const CacheFile& file) {
  const MutexLock lock(mutex_);
  if (&file != target_.file.get()) {
    return false;
  }
  if (groups.empty()) {
    return true;
  }
  if (own_file_ && presence_ != nullptr) {
    const auto [low, high] = std::ranges::minmax(groups);
    const uint32_t first = low / kGroupsPerWord;
    std::vector<uint32_t> words = Words(first, high / kGroupsPerWord - first + 1);
    for (const uint32_t group : groups) {
      words[group / kGroupsPerWord - first] |= 1U << (group % kGroupsPerWord);
    }
    if (auto written = presence_->WriteCurrent(first, words); !written) {
      // Served all the same; after a restart these groups are fetched again.
      LogWarning("presence not recorded key={} reason=\"{}\"", map_.key(), written.error().message);
    }
  }
  for (const uint32_t group : groups) {
    SetInMemory(group);
  }
  dirty_ = true;
  return true;
}

void BlobCache::UseCacheFile(std::shared_ptr<CacheFile> file,
                             const std::vector<ByteRange>& present) {
  std::vector<uint32_t> words(words_.size(), 0);
  for (uint32_t group = 0; group < map_.group_count(); ++group) {
    const image::GroupView view = map_.group(group);
    bool all = true;
    for (uint32_t n = 0; n < view.extent_count && all; ++n) {
      const image::ExtentView extent = map_.GroupExtent(view, n);
      all = Covers(present, {.offset = extent.device_offset, .length = extent.length});
    }
    if (all) {
      words[group / kGroupsPerWord] |= 1U << (group % kGroupsPerWord);
    }
  }
  const MutexLock lock(mutex_);
  const bool shares = file->rules().written_is_present;
  target_ = {.file = std::move(file),
             .shared = shares ? std::make_shared<SharedBlocks>(map_) : nullptr};
  shares_blocks_ = shares;
  own_file_ = false;
  complete_ = false;
  usable_unsynced_ = false;
  StoreAll(words);
}

Result<void> BlobCache::Checkpoint() {
  const MutexLock checkpoint_lock(checkpoint_mutex_);
  std::shared_ptr<CacheFile> file;
  std::vector<uint32_t> words;
  bool all_present = false;
  {
    const MutexLock lock(mutex_);
    if (!dirty_ || complete_ || !own_file_) {
      return Ok();
    }
    dirty_ = false;
    file = target_.file;
    all_present = AllPresent();
    words = Words(0, static_cast<uint32_t>(words_.size()));
  }
  auto done = Persist(*file, words, all_present);
  if (!done) {
    const MutexLock lock(mutex_);
    dirty_ = true;
  }
  return done;
}

Result<void> BlobCache::Persist(CacheFile& file, std::span<const uint32_t> words,
                                bool all_present) {
  FLOE_RETURN_IF_ERROR(file.Sync());
  if (!names_synced_) {
    FLOE_RETURN_IF_ERROR(SyncDirectory(directory_));
    names_synced_ = true;
  }
  FLOE_RETURN_IF_ERROR(presence_->WriteSynced(words));
  return all_present ? MarkComplete() : Ok();
}

Result<void> BlobCache::MarkComplete() {
  FLOE_RETURN_IF_ERROR(WriteFileAtomically(directory_ / kMarkerName, CompleteMarker(map_)));
  complete_ = true;
  LogInfo("blob complete key={} blob={} bytes={}", map_.key(), map_.blob_digest().ToString(),
          map_.device_size_bytes());
  return Ok();
}

uint64_t BlobCache::DiskBytes() const {
  constexpr uint64_t kSectorBytes = 512;
  struct stat status{};
  return ::fstat(data_fd_.get(), &status) == 0
             ? static_cast<uint64_t>(status.st_blocks) * kSectorBytes
             : 0;
}

}  // namespace floe::cachemgr
