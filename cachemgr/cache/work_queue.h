#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <iterator>
#include <optional>
#include <utility>

#include "base/mutex.h"

namespace floe::cachemgr {

enum class Priority : uint8_t { kDemand, kPrefetch };

/// What the fill workers take next: demand before prefetch, each in order of arrival. Its length is
/// bounded by the fetches under way, which the kernel (demand) and FillOptions (prefetch) bound.
/// Thread-safe.
template <typename T>
class WorkQueue {
 public:
  void Push(T item, Priority priority) {
    {
      const MutexLock lock(mutex_);
      (priority == Priority::kDemand ? demand_ : prefetch_).push_back(std::move(item));
    }
    available_.NotifyOne();
  }
  /// Waits for an item; nothing once closed and empty.
  std::optional<T> Pop() {
    const MutexLock lock(mutex_);
    while (demand_.empty() && prefetch_.empty()) {
      if (closed_) {
        return std::nullopt;
      }
      available_.Wait(mutex_);
    }
    std::deque<T>& queue = demand_.empty() ? prefetch_ : demand_;
    T item = std::move(queue.front());
    queue.pop_front();
    return item;
  }
  /// Moves what `is_demanded` names from the prefetch to the demand queue.
  template <typename Predicate>
  void Promote(const Predicate& is_demanded) {
    const MutexLock lock(mutex_);
    const auto rest = std::stable_partition(prefetch_.begin(), prefetch_.end(),
                                            [&](const T& item) { return !is_demanded(item); });
    std::move(rest, prefetch_.end(), std::back_inserter(demand_));
    prefetch_.erase(rest, prefetch_.end());
  }
  void Close() {
    {
      const MutexLock lock(mutex_);
      closed_ = true;
    }
    available_.NotifyAll();
  }

 private:
  Mutex mutex_;
  CondVar available_;
  std::deque<T> demand_ FLOE_GUARDED_BY(mutex_);
  std::deque<T> prefetch_ FLOE_GUARDED_BY(mutex_);
  bool closed_ FLOE_GUARDED_BY(mutex_) = false;
};

}  // namespace floe::cachemgr
