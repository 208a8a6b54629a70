#pragma once

#include <cstdint>
#include <map>

#include "base/byte_range.h"

namespace floe::erofs {

/// Ranges of which no two may overlap. Memory grows with the gaps between them, not with their
/// number. One thread at a time.
class ClaimedRanges {
 public:
  /// False when a part of the range is taken already; nothing changes then. An empty range is free.
  bool Claim(ByteRange range);

 private:
  std::map<uint64_t, uint64_t> ends_;  ///< By start; neighbours that touch are one.
};

}  // namespace floe::erofs
