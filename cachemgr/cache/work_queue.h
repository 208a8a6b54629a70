#pragma once

#include <cstdint>
#include <deque>
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
    std::deque<T> rest;
    for (T& item : prefetch_) {
      (is_demanded(std::as_const(item)) ? demand_ : rest).push_back(std::move(item));
    }
    prefetch_.swap(rest);
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
