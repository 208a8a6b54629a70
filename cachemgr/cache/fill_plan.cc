#include "cachemgr/cache/fill_plan.h"

#include <algorithm>
#include <optional>

namespace floe::cachemgr {
namespace {

// The smallest range over both, when nothing forbids to fetch it at once.
//
//   a        gap       b
//   |######|........|####|    joined when gap <= gap_bytes and the whole <= max_request_bytes
//
// `b` may overlap `a` by a byte (checkpoints need not be byte aligned) or lie before it.
std::optional<ByteRange> Join(ByteRange a, ByteRange b, const MergeLimits& limits) {
  if (a.empty() || b.empty()) {
    return a.empty() ? b : a;
  }
  const ByteRange& low = a.offset <= b.offset ? a : b;
  const ByteRange& high = a.offset <= b.offset ? b : a;
  if (high.offset > low.end() && high.offset - low.end() > limits.gap_bytes) {
    return std::nullopt;
  }
  const ByteRange joined{.offset = low.offset,
                         .length = std::max(low.end(), high.end()) - low.offset};
  if (joined.length > limits.max_request_bytes) {
    return std::nullopt;
  }
  return joined;
}

}  // namespace

bool AddUnit(FetchPlan& plan, const image::BlobMap& map, uint32_t unit, const MergeLimits& limits) {
  const image::UnitView view = map.unit(unit);
  const auto range = Join(plan.range, view.range, limits);
  const auto windows = Join(plan.windows, view.window, limits);
  if (!range || !windows) {
    return false;
  }
  plan.units.push_back(unit);
  plan.range = *range;
  plan.windows = *windows;
  return true;
}

std::vector<FetchPlan> PlanFetches(const image::BlobMap& map, std::span<const uint32_t> units,
                                   const MergeLimits& limits) {
  std::vector<FetchPlan> plans;
  for (const uint32_t unit : units) {
    if (plans.empty() || !AddUnit(plans.back(), map, unit, limits)) {
      (void)AddUnit(plans.emplace_back(), map, unit, limits);
    }
  }
  return plans;
}

}  // namespace floe::cachemgr
