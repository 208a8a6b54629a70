#include "fetcher/http/loop_tasks.h"

namespace floe::fetcher {

void LoopTasks::Post(Task task) {
  MutexLock lock(mutex_);
  if (closed_) {
    return;
  }
  bool first = posted_.empty();
  posted_.push_back(std::move(task));
  // One wake-up is enough for all that is posted before the loop looks. The lock keeps the loop
  // from ending in between.
  if (first) {
    wake_();
  }
}

LoopTasks::TimerId LoopTasks::RunAt(Clock::TimePoint when, Task task) {
  TimerId id(when, next_timer_++);
  timers_.emplace(id, std::move(task));
  return id;
}

bool LoopTasks::RunDue() {
  bool any = false;
  {
    MutexLock lock(mutex_);
    running_.swap(posted_);
  }
  for (Task& task : running_) {
    any = true;
    task();
  }
  running_.clear();
  Clock::TimePoint now = Clock::Real().Now();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    any = true;
    Task task = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    task();
  }
  return any;
}

Clock::TimePoint LoopTasks::NextTimer() const {
  return timers_.empty() ? Clock::TimePoint::max() : timers_.begin()->first.first;
}

bool LoopTasks::TryClose() {
  MutexLock lock(mutex_);
  if (!posted_.empty()) {
    return false;
  }
  closed_ = true;
  return true;
}

}  // namespace floe::fetcher
