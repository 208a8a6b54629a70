#include "cachemgr/cache/flight.h"

#include <algorithm>

namespace floe::cachemgr {

namespace {

constexpr std::chrono::seconds kRecent{1};

}  // namespace

void RecentTimeouts::Add(uint32_t unit, std::chrono::steady_clock::time_point now) {
  std::erase_if(ended_, [&](const auto& entry) { return now - entry.second >= kRecent; });
  ended_[unit] = now;
}

bool RecentTimeouts::ContainsAny(std::span<const uint32_t> units,
                                 std::chrono::steady_clock::time_point now) const {
  return std::ranges::any_of(units, [&](uint32_t unit) {
    const auto found = ended_.find(unit);
    return found != ended_.end() && now - found->second < kRecent;
  });
}

void Waiter::UnitDone(const Result<void>& outcome) {
  if (!outcome && !cache_.IsPresent(range_)) {
    Finish(outcome);
    return;
  }
  if (--pending_ > 0) {
    return;
  }
  // The one place that says "present" to the kernel after a fill: look once more.
  if (cache_.IsPresent(range_)) {
    Finish(Ok());
  } else {
    Finish(Internal("offset {} length {} is absent after its fills", range_.offset, range_.length));
  }
}

void Waiter::Expire() {
  Finish(
      DeadlineExceeded("offset {} length {} was not there in time", range_.offset, range_.length));
}

void Waiter::Finish(const Result<void>& outcome) {
  if (finished_.exchange(true)) {
    return;
  }
  ++(outcome ? *on_success_ : counters_.reads_failed);
  --counters_.reads_inflight;
  reply_->Send(outcome);
  watch_.Remove(*this);
}

}  // namespace floe::cachemgr
