#include "cachemgr/cache/blob.h"

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "cachemgr/cache/filler.h"
#include "cachemgr/replace_file.h"

namespace floe::cachemgr {

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
  return std::shared_ptr<Blob>(
      new Blob(directory, std::move(map), std::move(cache), std::move(sources), filler, counters));
}

Blob::Blob(std::filesystem::path directory, std::unique_ptr<image::BlobMap> map,
           std::unique_ptr<BlobCache> cache, std::vector<Source> sources, Filler& filler,
           Counters& counters)
    : directory_(std::move(directory)),
      map_(std::move(map)),
      cache_(std::move(cache)),
      filler_(filler),
      counters_(counters),
      sources_(std::make_shared<const std::vector<Source>>(std::move(sources))) {}

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

void Blob::UseCacheFile(std::shared_ptr<CacheFile> file, const std::vector<ByteRange>& present) {
  cache_->UseCacheFile(std::move(file), present);
}

}  // namespace floe::cachemgr
