#include "base/clock.h"

#include <algorithm>

namespace floe {
namespace {

class RealClock final : public Clock {
 public:
  [[nodiscard]] TimePoint Now() const override { return std::chrono::steady_clock::now(); }
  [[nodiscard]] std::chrono::system_clock::time_point WallNow() const override {
    return std::chrono::system_clock::now();
  }
};

}  // namespace

const Clock& Clock::Real() {
  static const RealClock kClock;
  return kClock;
}

Clock::Duration Deadline::Remaining(const Clock& clock) const {
  if (infinite()) {
    return Clock::Duration::max();
  }
  return std::max(Clock::Duration::zero(), when_ - clock.Now());
}

}  // namespace floe
