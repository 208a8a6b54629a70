#pragma once

#include <algorithm>
#include <cstdint>

namespace floe::cachemgr {

/// Recognises demands that walk through a blob unit by unit, and says what to fetch ahead of them:
/// one unit at first, twice as many each time the reader reaches what was fetched ahead. Not
/// thread-safe.
///
///   units:   ... 4 | 5 | 6 7 | 8 9 10 11 | ...
///   demand 4; demand 5: ahead 6; demand 6: ahead 7 8; demand 7: ahead 9 10 11 12; ...
class ReadAhead {
 public:
  struct Window {
    uint32_t first = 0;
    uint32_t count = 0;  ///< 0: nothing.
  };

  /// A demand had to wait for units [first, last]. Returns what to fetch ahead, at most
  /// `max_units`.
  Window OnDemand(uint32_t first, uint32_t last, uint32_t max_units) {
    if (first < trigger_ || first > next_) {  // Somewhere else: a new walk may begin here.
      trigger_ = next_ = last + 1;
      count_ = 0;
      return {};
    }
    count_ = std::min(max_units, count_ == 0 ? 1 : 2 * count_);
    trigger_ = std::max(next_, last + 1);
    next_ = trigger_ + count_;
    return {.first = trigger_, .count = count_};
  }

 private:
  // A demand that begins in [trigger_, next_] continues the walk: it has reached what was fetched
  // ahead last, or comes right behind it.
  uint32_t trigger_ = UINT32_MAX;
  uint32_t next_ = UINT32_MAX;
  uint32_t count_ = 0;
};

}  // namespace floe::cachemgr
