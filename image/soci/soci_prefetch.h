#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace floe::image {

/// Spans of a ztoc, by number, that are to be fetched ahead of any demand.
struct SociSpanRun {
  uint64_t first = 0;
  uint64_t last = 0;  ///< Included; not before the first.
};

/// Largest prefetch list that is read.
inline constexpr uint64_t kMaxSociPrefetchBytes = 1U << 20U;

/// A layer's prefetch list (application/vnd.amazon.soci.prefetch.v1+json), the most urgent run
/// first: lower priorities before higher ones, else as listed. InvalidArgument: not such a list;
/// DataLoss: it names spans that a ztoc of `span_count` spans does not have.
Result<std::vector<SociSpanRun>> ParseSociPrefetch(std::string_view json, size_t span_count);

}  // namespace floe::image
