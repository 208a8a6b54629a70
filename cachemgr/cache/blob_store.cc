#include "cachemgr/cache/blob_store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <system_error>
#include <utility>

#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "cachemgr/cache/copy_absent.h"
#include "cachemgr/replace_file.h"

namespace floe::cachemgr {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxMapBytes = 1ULL << 30U;
constexpr size_t kKeyDigits = 64;
constexpr const char* kMapName = "map";
const std::string kRemovedPrefix = ".removed-";

// What a file occupies; nothing when there is none.
std::optional<uint64_t> DiskBytes(const fs::path& path) {
  constexpr uint64_t kSectorBytes = 512;
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    return std::nullopt;
  }
  return static_cast<uint64_t>(status.st_blocks) * kSectorBytes;
}

}  // namespace

const std::string BlobStore::kHalfMadePrefix = ".half-made-";

bool IsDeviceKey(std::string_view key) {
  return key.size() == kKeyDigits && std::ranges::all_of(key, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

void BlobStore::UseHeld(std::map<std::string, UniqueFd> held) {
  const MutexLock lock(mutex_);
  held_ = std::move(held);
}

std::map<std::string, UniqueFd> BlobStore::TakeUnopened() {
  const MutexLock lock(mutex_);
  return std::exchange(held_, {});
}

std::shared_ptr<Blob> BlobStore::Find(const std::string& key) const {
  const MutexLock lock(mutex_);
  auto found = blobs_.find(key);
  return found == blobs_.end() ? nullptr : found->second;
}

Result<std::shared_ptr<Blob>> BlobStore::Open(const std::string& key) {
  FLOE_ASSIGN_OR_RETURN(std::shared_ptr<Blob> blob, OpenUnsynced(key));
  // Whatever was left unfinished by a process that is gone.
  if (auto done = blob->cache().Checkpoint(); !done) {
    LogWarning("checkpoint failed key={} reason=\"{}\"", key, done.error().message);
  }
  return blob;
}

Result<std::shared_ptr<Blob>> BlobStore::OpenUnsynced(const std::string& key) {
  UniqueFd held;
  {
    const MutexLock lock(mutex_);
    if (auto found = held_.find(key); found != held_.end()) {
      held.Reset(::fcntl(found->second.get(), F_DUPFD_CLOEXEC, 0));  // It may take another attempt.
    }
  }
  FLOE_ASSIGN_OR_RETURN(
      std::shared_ptr<Blob> blob,
      Blob::Open(directory_ / key, key, boot_id_, filler_, counters_, std::move(held)));
  const MutexLock lock(mutex_);
  held_.erase(key);
  blobs_[key] = blob;
  return blob;
}

Result<void> BlobStore::StoreMap(const DeviceRequest& request) const {
  auto bytes = ReadFile(request.blob_map, kMaxMapBytes);
  if (!bytes) {
    return InvalidArgument("BlobMap of device {}: {}", request.key, bytes.error().message);
  }
  if (const Digest digest = Digest::Of(*bytes); digest.hex() != request.key) {
    return InvalidArgument("BlobMap {} has digest {}, not {}", request.blob_map.native(),
                           digest.hex(), request.key);
  }
  FLOE_RETURN_IF_ERROR(CreateDirectories(directory_ / request.key));
  return ReplaceFile(directory_ / request.key / kMapName, *bytes);
}

Result<std::shared_ptr<Blob>> BlobStore::Acquire(const DeviceRequest& request) {
  const KeyLocks::Holder holder(opening_, request.key);
  std::shared_ptr<Blob> blob = Find(request.key);
  if (blob == nullptr) {
    auto opened = Open(request.key);  // Known from before a restart?
    if (!opened) {
      FLOE_RETURN_IF_ERROR(StoreMap(request));
      opened = Open(request.key);
    }
    if (!opened) {
      const bool lies = opened.error().code == ErrorCode::kDataLoss ||
                        opened.error().code == ErrorCode::kInvalidArgument;
      if (lies) {
        (void)RemoveTree(directory_ / request.key);
        return InvalidArgument("BlobMap of device {}: {}", request.key, opened.error().message);
      }
      return opened.error();
    }
    blob = *opened;
  }
  Touch(request.key);
  FLOE_RETURN_IF_ERROR(blob->AddSources(request.sources));
  if (!request.windows.empty()) {
    FLOE_RETURN_IF_ERROR(blob->AddWindows(request.windows));
  }
  return blob;
}

Result<std::shared_ptr<Blob>> BlobStore::FindOrOpen(const std::string& key) {
  std::shared_ptr<Blob> blob = Find(key);
  return blob != nullptr ? Result<std::shared_ptr<Blob>>(std::move(blob)) : Open(key);
}

Result<std::shared_ptr<Blob>> BlobStore::Adopt(const std::string& key, const fs::path& made,
                                               const std::vector<Source>& sources) {
  const KeyLocks::Holder holder(opening_, key);
  auto known = FindOrOpen(key);
  if (known) {
    FLOE_RETURN_IF_ERROR(CopyAbsent(made / "data", **known));
  } else {
    FLOE_RETURN_IF_ERROR(RemoveTree(directory_ / key));  // Of no use to anybody.
    if (::rename(made.c_str(), (directory_ / key).c_str()) != 0) {
      return ErrnoError(errno, fmt::format("rename {}", made.native()));
    }
    known = OpenUnsynced(key);
    FLOE_RETURN_IF_ERROR(known);
    (*known)->cache().UseUnsynced();
  }
  Touch(key);
  FLOE_RETURN_IF_ERROR((*known)->AddSources(sources));
  return known;
}

std::vector<std::shared_ptr<Blob>> BlobStore::All() {
  std::error_code error;
  for (fs::directory_iterator it(directory_, error), end; !error && it != end;
       it.increment(error)) {
    const std::string key = it->path().filename();
    if (!IsDeviceKey(key)) {
      continue;
    }
    const KeyLocks::Holder holder(opening_, key);
    if (Find(key) != nullptr) {
      continue;
    }
    if (auto opened = Open(key); !opened) {
      LogWarning("blob left out key={} reason=\"{}\"", key, opened.error().message);
    }
  }
  return Opened();
}

std::vector<StoredBlob> BlobStore::Stored() const {
  std::vector<StoredBlob> stored;
  std::error_code error;
  for (fs::directory_iterator it(directory_, error), end; !error && it != end;
       it.increment(error)) {
    StoredBlob blob{.key = it->path().filename()};
    const auto data_bytes = DiskBytes(it->path() / "data");
    if (!IsDeviceKey(blob.key) || !data_bytes) {
      continue;
    }
    blob.disk_bytes = *data_bytes + DiskBytes(it->path() / "windows").value_or(0);
    std::error_code ignored;
    blob.last_used = fs::last_write_time(it->path() / kMapName, ignored);
    stored.push_back(std::move(blob));
  }
  return stored;
}

Result<bool> BlobStore::Remove(const std::string& key) {
  std::shared_ptr<Blob> closed;  // Destroyed without the lock.
  const KeyLocks::Holder holder(opening_, key);
  {
    const MutexLock lock(mutex_);
    if (auto found = blobs_.find(key); found != blobs_.end()) {
      if (found->second.use_count() > 1) {
        return false;
      }
      closed = std::move(found->second);
      blobs_.erase(found);
    }
  }
  // At once for whoever looks, also after a kill.
  const fs::path aside = directory_ / (kRemovedPrefix + key);
  FLOE_RETURN_IF_ERROR(RemoveTree(aside));
  if (::rename((directory_ / key).c_str(), aside.c_str()) != 0) {
    return ErrnoError(errno, fmt::format("rename {}", (directory_ / key).native()));
  }
  FLOE_RETURN_IF_ERROR(RemoveTree(aside));
  return true;
}

void BlobStore::RemoveLeftovers() const {
  std::error_code error;
  for (fs::directory_iterator it(directory_, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().native();
    if (name.starts_with(kRemovedPrefix) || name.starts_with(kHalfMadePrefix)) {
      (void)RemoveTree(it->path());
    }
  }
}

void BlobStore::Touch(const std::string& key) const {
  (void)::utimensat(AT_FDCWD, (directory_ / key / kMapName).c_str(), nullptr, 0);
}

std::vector<std::shared_ptr<Blob>> BlobStore::Opened() const {
  const MutexLock lock(mutex_);
  std::vector<std::shared_ptr<Blob>> blobs;
  blobs.reserve(blobs_.size());
  for (const auto& [key, blob] : blobs_) {
    blobs.push_back(blob);
  }
  return blobs;
}

}  // namespace floe::cachemgr
