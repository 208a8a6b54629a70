#include "cachemgr/cache/deadline_watch.h"

#include <utility>

#include "base/thread_name.h"

namespace floe::cachemgr {

DeadlineWatch::DeadlineWatch(const Clock& clock, Clock::Duration timeout)
    : clock_(clock), timeout_(timeout), thread_([this] { Run(); }) {}

DeadlineWatch::~DeadlineWatch() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
}

void DeadlineWatch::Add(std::shared_ptr<Expirable> item) {
  bool first = false;
  {
    const MutexLock lock(mutex_);
    first = waiting_.empty();
    Expirable& added = *item;
    added.position_ = waiting_.emplace(waiting_.end(), clock_.Now() + timeout_, std::move(item));
    added.watched_ = true;
  }
  if (first) {
    changed_.NotifyAll();
  }
}

void DeadlineWatch::Extend(Expirable& item) {
  const MutexLock lock(mutex_);
  if (item.watched_) {
    item.position_->first = clock_.Now() + timeout_;
    waiting_.splice(waiting_.end(), waiting_, item.position_);
  }
}

void DeadlineWatch::Remove(Expirable& item) {
  List removed;  // Destroyed without the lock.
  const MutexLock lock(mutex_);
  if (std::exchange(item.watched_, false)) {
    removed.splice(removed.end(), waiting_, item.position_);
  }
}

void DeadlineWatch::ExpireDue() {
  List due;
  {
    const MutexLock lock(mutex_);
    const Clock::TimePoint now = clock_.Now();
    while (!waiting_.empty() && waiting_.front().first <= now) {
      waiting_.front().second->watched_ = false;
      due.splice(due.end(), waiting_, waiting_.begin());
    }
  }
  for (const auto& [when, item] : due) {
    item->Expire();
  }
}

void DeadlineWatch::Run() {
  SetThreadName("deadline");
  for (;;) {
    {
      const MutexLock lock(mutex_);
      if (stopping_) {
        return;
      }
      if (waiting_.empty()) {
        changed_.Wait(mutex_);
      } else {
        // The injected clock says how long; only the machine's can be waited for.
        const Clock::Duration left = waiting_.front().first - clock_.Now();
        changed_.WaitUntil(mutex_, std::chrono::steady_clock::now() + left);
      }
      if (stopping_) {
        return;
      }
    }
    ExpireDue();
  }
}

}  // namespace floe::cachemgr
