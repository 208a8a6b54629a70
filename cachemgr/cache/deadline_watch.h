#pragma once

#include <list>
#include <memory>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"

namespace floe::cachemgr {

class Expirable;

/// Expires what was added, and not extended or removed within one fixed time. Owns the thread
/// "deadline". Thread-safe.
class DeadlineWatch {
 public:
  using List = std::list<std::pair<Clock::TimePoint, std::shared_ptr<Expirable>>>;

  /// `clock` must outlive this.
  DeadlineWatch(const Clock& clock, Clock::Duration timeout);
  ~DeadlineWatch();
  DeadlineWatch(const DeadlineWatch&) = delete;
  DeadlineWatch& operator=(const DeadlineWatch&) = delete;

  void Add(std::shared_ptr<Expirable> item);
  /// It has got on: its time begins anew. No effect when it is not watched (any more).
  void Extend(Expirable& item);
  /// No effect when it was not added, or has expired.
  void Remove(Expirable& item);
  /// Expires everything whose time has come by the clock. The thread calls it; tests with a fake
  /// clock do too.
  void ExpireDue();

 private:
  void Run();

  const Clock& clock_;
  const Clock::Duration timeout_;
  Mutex mutex_;
  CondVar changed_;
  List waiting_ FLOE_GUARDED_BY(mutex_);  // In the order of Add and Extend: that of expiry.
  bool stopping_ FLOE_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

/// What waits for its turn and must not wait for ever.
class Expirable {
 public:
  virtual ~Expirable() = default;
  /// The deadline has passed. Called at most once, without locks. Must not touch the cache file
  /// system: a frozen file system must not freeze the deadlines.
  virtual void Expire() = 0;

 private:
  friend class DeadlineWatch;
  // Both under the watch's mutex.
  bool watched_ = false;
  DeadlineWatch::List::iterator position_;
};

}  // namespace floe::cachemgr
