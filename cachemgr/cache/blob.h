#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "cachemgr/cache/blob_cache.h"
#include "cachemgr/cache/counters.h"
#include "cachemgr/cache/flight.h"
#include "cachemgr/cache/sources.h"
#include "cachemgr/cache/windows_file.h"
#include "cachemgr/channel/channel.h"
#include "image/blob_map.h"

namespace floe::cachemgr {

class Filler;

/// A registered blob: what it is (BlobMap), what of it is here (BlobCache), where the rest comes
/// from (sources) and who is fetching (flights). Thread-safe. Shared by the mounts, the channel and
/// the fills under way.
class Blob final : public DemandHandler, public std::enable_shared_from_this<Blob> {
 public:
  /// Opens blobs/<key>/ with its files map, sources.json, windows (if there is one), data (`held`,
  /// as BlobCache::Open) and presence. `filler` and `counters` must outlive every call of
  /// DemandHandler.
  static Result<std::shared_ptr<Blob>> Open(const std::filesystem::path& directory,
                                            const std::string& key, const std::string& boot_id,
                                            Filler& filler, Counters& counters, UniqueFd held = {});

  [[nodiscard]] const image::BlobMap& map() const { return *map_; }
  [[nodiscard]] BlobCache& cache() { return *cache_; }
  [[nodiscard]] FlightTable& flights() { return flights_; }

  [[nodiscard]] std::shared_ptr<const std::vector<Source>> sources() const;
  /// New sources come first, in their order; what was known stays behind them.
  Result<void> AddSources(const std::vector<Source>& sources);

  /// The node's own copy of the blob's windows; null: they are in the registry, or there are none.
  [[nodiscard]] std::shared_ptr<WindowsFile> windows() const;
  /// Copies a file with the blob's windows, unless that was done before. One caller at a time.
  /// InvalidArgument: it is not what the BlobMap says.
  Result<void> AddWindows(const std::filesystem::path& file);
  /// They cannot be read any more: the registry is asked, until AddWindows brings them again.
  void DropWindows(const std::shared_ptr<WindowsFile>& windows, const Error& why);

  /// What its files occupy, but for small ones.
  [[nodiscard]] uint64_t DiskBytes() const;

  /// See Filler::Prefetch.
  void Prefetch(std::vector<image::PrefetchRun> runs);

  void CountFetched(uint64_t bytes) { fetched_bytes_ += bytes; }
  [[nodiscard]] uint64_t fetched_bytes() const { return fetched_bytes_.load(); }

  // DemandHandler:
  bool TryHit(ByteRange range) override;
  void Demand(ByteRange range, std::unique_ptr<DemandReply> reply) override;
  void UseCacheFile(std::shared_ptr<CacheFile> file,
                    const std::vector<ByteRange>& present) override;
  std::vector<ByteRange> Blanks(ByteRange range) override { return cache_->Blanks(range); }

 private:
  Blob(std::filesystem::path directory, std::unique_ptr<image::BlobMap> map,
       std::unique_ptr<BlobCache> cache, std::vector<Source> sources,
       std::shared_ptr<WindowsFile> windows, Filler& filler, Counters& counters);
  [[nodiscard]] static WindowsFile::Identity WindowsOf(const image::BlobMap& map);

  const std::filesystem::path directory_;
  const std::unique_ptr<image::BlobMap> map_;
  const std::unique_ptr<BlobCache> cache_;
  Filler& filler_;
  Counters& counters_;

  FlightTable flights_;
  std::atomic<uint64_t> fetched_bytes_ = 0;

  Mutex save_mutex_;  // One AddSources at a time; taken before mutex_.
  mutable Mutex mutex_;
  std::shared_ptr<const std::vector<Source>> sources_ FLOE_GUARDED_BY(mutex_);
  std::shared_ptr<WindowsFile> windows_ FLOE_GUARDED_BY(mutex_);
};

}  // namespace floe::cachemgr
