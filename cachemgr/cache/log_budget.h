#pragma once

#include <cstdint>

#include "base/clock.h"
#include "base/mutex.h"

namespace floe::cachemgr {

/// So many log lines in so much time: what fails once for every read must not flood the log.
/// Thread-safe.
class LogBudget {
 public:
  /// `clock` must outlive this.
  explicit LogBudget(const Clock& clock) : clock_(clock) {}

  /// True when one more line may be written now.
  bool Take() {
    const MutexLock lock(mutex_);
    const Clock::TimePoint now = clock_.Now();
    if (now >= refill_) {
      refill_ = now + kPeriod;
      left_ = kLines;
    }
    if (left_ == 0) {
      return false;
    }
    --left_;
    return true;
  }

 private:
  static constexpr uint32_t kLines = 20;
  static constexpr std::chrono::seconds kPeriod{10};

  const Clock& clock_;
  Mutex mutex_;
  Clock::TimePoint refill_ FLOE_GUARDED_BY(mutex_);
  uint32_t left_ FLOE_GUARDED_BY(mutex_) = 0;
};

}  // namespace floe::cachemgr
