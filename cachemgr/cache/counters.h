#pragma once

#include <atomic>
#include <cstdint>

namespace floe::cachemgr {

/// What the data path counts for `floe status`; since the cache manager started.
struct Counters {
  std::atomic<uint64_t> reads_hit = 0;     ///< All present when the kernel asked.
  std::atomic<uint64_t> reads_joined = 0;  ///< Waited only for flights that others had started.
  std::atomic<uint64_t> reads_filled = 0;  ///< Started at least one flight.
  std::atomic<uint64_t> reads_failed = 0;
  std::atomic<uint64_t> reads_inflight = 0;
  std::atomic<uint64_t> fetched_bytes = 0;  ///< From registries, windows included.
  std::atomic<uint64_t> integrity_errors = 0;
};

}  // namespace floe::cachemgr
