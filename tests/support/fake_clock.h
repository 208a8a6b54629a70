#pragma once

#include "base/clock.h"
#include "base/mutex.h"

namespace floe::testing {

/// A clock that moves only when told. Thread-safe.
class FakeClock final : public Clock {
 public:
  [[nodiscard]] TimePoint Now() const override {
    MutexLock lock(mutex_);
    return TimePoint() + elapsed_;
  }
  [[nodiscard]] std::chrono::system_clock::time_point WallNow() const override {
    MutexLock lock(mutex_);
    return std::chrono::system_clock::time_point(
        std::chrono::seconds(1700000000) +
        std::chrono::duration_cast<std::chrono::system_clock::duration>(elapsed_));
  }
  void Advance(Duration by) {
    MutexLock lock(mutex_);
    elapsed_ += by;
  }

 private:
  mutable Mutex mutex_;
  Duration elapsed_ FLOE_GUARDED_BY(mutex_) = std::chrono::hours(1);
};

}  // namespace floe::testing
