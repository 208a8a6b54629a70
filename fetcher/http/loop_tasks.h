#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"

namespace floe::fetcher {

/// What the fetch loop does besides transfers: tasks from other threads, and timers. Everything
/// that is posted runs on the loop's thread, in order. Shared by the loop and by the handles that
/// outlive it.
class LoopTasks {
 public:
  using Task = std::function<void()>;
  /// Identifies one timer; TimerId() is none.
  using TimerId = std::pair<Clock::TimePoint, uint64_t>;

  /// `wake` makes the loop call RunDue soon; called with a lock held, from any thread.
  explicit LoopTasks(Task wake) : wake_(std::move(wake)) {}

  /// Any thread. Dropped, unrun, once the loop has ended.
  void Post(Task task) FLOE_EXCLUDES(mutex_);
  [[nodiscard]] bool OnLoopThread() const { return std::this_thread::get_id() == thread_.load(); }

  // --- only on the loop's thread ---
  TimerId RunAt(Clock::TimePoint when, Task task);
  /// Nothing happens when it ran already, or for TimerId().
  void CancelTimer(TimerId id) { timers_.erase(id); }
  /// Makes the calling thread the loop's.
  void Attach() { thread_ = std::this_thread::get_id(); }
  /// Runs every task and every due timer; true if there were any.
  bool RunDue() FLOE_EXCLUDES(mutex_);
  /// TimePoint::max() without any.
  [[nodiscard]] Clock::TimePoint NextTimer() const;
  /// True when nothing was pending: from now on Post drops. False: RunDue has work first.
  bool TryClose() FLOE_EXCLUDES(mutex_);

 private:
  const Task wake_;
  std::atomic<std::thread::id> thread_;

  // Only on the loop's thread.
  std::map<TimerId, Task> timers_;
  uint64_t next_timer_ = 1;
  std::vector<Task> running_;

  Mutex mutex_;
  std::vector<Task> posted_ FLOE_GUARDED_BY(mutex_);
  bool closed_ FLOE_GUARDED_BY(mutex_) = false;
};

}  // namespace floe::fetcher
