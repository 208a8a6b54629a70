#include "erofs/claimed_ranges.h"

#include <iterator>

namespace floe::erofs {

bool ClaimedRanges::Claim(ByteRange range) {
  if (range.empty()) {
    return true;
  }
  const auto next = ends_.lower_bound(range.offset);
  const auto previous = next == ends_.begin() ? ends_.end() : std::prev(next);
  if (!range.IsValid() || (next != ends_.end() && next->first < range.end()) ||
      (previous != ends_.end() && previous->second > range.offset)) {
    return false;
  }
  uint64_t end = range.end();
  if (next != ends_.end() && next->first == end) {
    end = next->second;
    ends_.erase(next);
  }
  if (previous != ends_.end() && previous->second == range.offset) {
    previous->second = end;
  } else {
    ends_.emplace(range.offset, end);
  }
  return true;
}

}  // namespace floe::erofs
