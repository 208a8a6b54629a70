#include "cachemgr/cache/blob.h"

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "cachemgr/cache/filler.h"
#include "cachemgr/replace_file.h"

namespace floe::cachemgr {
namespace {

constexpr const char* kWindowsName = "windows";

// Null when there is none, or none that can be used: the registry is asked.
std::shared_ptr<WindowsFile> OpenWindows(const std::filesystem::path& directory,
                                         const WindowsFile::Identity& identity) {
  if (identity.digest.IsZero()) {
    return nullptr;
  }
  auto opened = WindowsFile::Open(directory / kWindowsName, identity);
  if (opened) {
    return *opened;
  }
  if (opened.error().code != ErrorCode::kNotFound) {
    LogWarning("windows ignored reason=\"{}\"", opened.error().message);
  }
  return nullptr;
}

}  // namespace

Result<std::shared_ptr<Blob>> Blob::Open(const std::filesystem::path& directory,
                                         const std::string& key, const std::string& boot_id,
                                         Filler& filler, Counters& counters, UniqueFd held) {
  FLOE_ASSIGN_OR_RETURN(auto map, image::BlobMap::Open(directory / "map", key));
  FLOE_ASSIGN_OR_RETURN(auto cache, BlobCache::Open(directory, *map, boot_id, std::move(held)));
  std::vector<Source> sources;
  if (auto json = ReadFile(directory / "sources.json"); json.has_value()) {
    auto decoded = DecodeSources(*json);
    if (decoded) {
      sources = std::move(*decoded);
    } else {
      LogWarning("sources ignored key={} reason=\"{}\"", key, decoded.error().message);
    }
  }
  auto windows = OpenWindows(directory, WindowsOf(*map));
  return std::shared_ptr<Blob>(new Blob(directory, std::move(map), std::move(cache),
                                        std::move(sources), std::move(windows), filler, counters));
}

Blob::Blob(std::filesystem::path directory, std::unique_ptr<image::BlobMap> map,
           std::unique_ptr<BlobCache> cache, std::vector<Source> sources,
           std::shared_ptr<WindowsFile> windows, Filler& filler, Counters& counters)
    : directory_(std::move(directory)),
      map_(std::move(map)),
      cache_(std::move(cache)),
      filler_(filler),
      counters_(counters),
      sources_(std::make_shared<const std::vector<Source>>(std::move(sources))),
      windows_(std::move(windows)) {}

std::shared_ptr<const std::vector<Source>> Blob::sources() const {
  const MutexLock lock(mutex_);
  return sources_;
}

Result<void> Blob::AddSources(const std::vector<Source>& added) {
  const MutexLock save_lock(save_mutex_);
  const auto known = sources();
  std::vector<Source> merged;
  for (const std::vector<Source>* list : {&added, known.get()}) {
    for (const Source& source : *list) {
      if (std::ranges::find(merged, source) == merged.end()) {
        merged.push_back(source);
      }
    }
  }
  if (merged == *known) {
    return Ok();
  }
  FLOE_RETURN_IF_ERROR(ReplaceFile(directory_ / "sources.json", EncodeSources(merged)));
  const MutexLock lock(mutex_);
  sources_ = std::make_shared<const std::vector<Source>>(std::move(merged));
  return Ok();
}

WindowsFile::Identity Blob::WindowsOf(const image::BlobMap& map) {
  return {.digest = map.windows_digest(), .size_bytes = map.windows_size_bytes()};
}

std::shared_ptr<WindowsFile> Blob::windows() const {
  const MutexLock lock(mutex_);
  return windows_;
}

Result<void> Blob::AddWindows(const std::filesystem::path& file) {
  const WindowsFile::Identity identity = WindowsOf(*map_);
  if (identity.digest.IsZero()) {
    return InvalidArgument("device {} has no windows, but there is a file of them", map_->key());
  }
  if (const auto known = windows(); known != nullptr && known->Verify()) {
    return Ok();
  }
  FLOE_ASSIGN_OR_RETURN(auto copied, WindowsFile::Copy(file, directory_ / kWindowsName, identity));
  const MutexLock lock(mutex_);
  windows_.swap(copied);  // The former one is closed without the lock.
  return Ok();
}

void Blob::DropWindows(const std::shared_ptr<WindowsFile>& windows, const Error& why) {
  {
    const MutexLock lock(mutex_);
    if (windows_ != windows) {
      return;
    }
    windows_.reset();  // The caller has another reference.
  }
  LogError("windows cannot be read and are not used any more key={} reason=\"{}\"", map_->key(),
           why.message);
}

uint64_t Blob::DiskBytes() const {
  const auto own_windows = windows();
  return cache_->DiskBytes() + (own_windows == nullptr ? 0 : own_windows->DiskBytes());
}

bool Blob::TryHit(ByteRange range) {
  if (!cache_->IsPresent(range)) {
    return false;
  }
  counters_.reads_hit.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void Blob::Demand(ByteRange range, std::unique_ptr<DemandReply> reply) {
  filler_.Demand(shared_from_this(), range, std::move(reply));
}

void Blob::Prefetch(std::vector<image::PrefetchRun> runs) {
  filler_.Prefetch(shared_from_this(), std::move(runs));
}

void Blob::UseCacheFile(std::shared_ptr<CacheFile> file, const std::vector<ByteRange>& present) {
  cache_->UseCacheFile(std::move(file), present);
}

}  // namespace floe::cachemgr
