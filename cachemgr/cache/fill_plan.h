#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/byte_range.h"
#include "image/blob_map.h"

namespace floe::cachemgr {

struct MergeLimits {
  /// Absent units whose ranges (and windows) lie at most this far apart share one request: bytes
  /// fetched for nothing, against a request.
  uint64_t gap_bytes = 16U << 10U;
  uint64_t max_request_bytes = 8U << 20U;
};

/// One range request for the blob and, when it needs windows, one for the windows object.
struct FetchPlan {
  std::vector<uint32_t> units;  ///< Sorted.
  ByteRange range;              ///< Covers the ranges of all units.
  ByteRange windows;            ///< Covers their windows; empty when none has one.
};

/// Makes the plan fetch one more unit, behind its last one, in the same requests. False, and
/// nothing is changed, where the limits forbid it.
bool AddUnit(FetchPlan& plan, const image::BlobMap& map, uint32_t unit, const MergeLimits& limits);

/// Groups absent units (sorted, unique) into requests.
std::vector<FetchPlan> PlanFetches(const image::BlobMap& map, std::span<const uint32_t> units,
                                   const MergeLimits& limits);

}  // namespace floe::cachemgr
