#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "image/layer_index.h"

namespace floe::cachemgr {

class Blob;

/// Units of one blob to fetch ahead of any demand, and how far that has come. Not thread-safe.
class PrefetchWalk {
 public:
  /// `runs` lie inside the BlobMap; an eviction ends the walk.
  PrefetchWalk(const std::shared_ptr<Blob>& blob, std::vector<image::PrefetchRun> runs)
      : blob_(blob), runs_(std::move(runs)) {}

  [[nodiscard]] std::shared_ptr<Blob> blob() const { return blob_.lock(); }
  /// The unit that is next; nothing at the end.
  [[nodiscard]] std::optional<uint32_t> unit() const {
    return run_ < runs_.size() ? std::optional(runs_[run_].first_unit + in_run_) : std::nullopt;
  }
  void Advance() {
    if (++in_run_ >= runs_[run_].unit_count) {
      ++run_;
      in_run_ = 0;
    }
  }

 private:
  std::weak_ptr<Blob> blob_;
  std::vector<image::PrefetchRun> runs_;
  size_t run_ = 0;
  uint32_t in_run_ = 0;
};

/// The walks that wait for their turn: each blob gets one request, then the next blob has its turn.
/// Its length is bounded by the mount requests. Thread-safe.
class PrefetchList {
 public:
  void Push(PrefetchWalk walk);
  std::optional<PrefetchWalk> Pop();
  [[nodiscard]] bool empty() const;
  /// Forgets the walks of a blob; true when there was one.
  bool Drop(const Blob& blob);
  /// Empty for good.
  void Close();

 private:
  mutable Mutex mutex_;
  std::deque<PrefetchWalk> walks_ FLOE_GUARDED_BY(mutex_);
  bool closed_ FLOE_GUARDED_BY(mutex_) = false;
};

}  // namespace floe::cachemgr
