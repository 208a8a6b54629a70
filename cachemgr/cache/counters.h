#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/fault_kind.h"

namespace floe::cachemgr {

/// Requests that went wrong in one way.
struct FaultCount {
  std::atomic<uint64_t> all = 0;
  std::atomic<uint64_t> retried = 0;  ///< Of those: the bytes were asked for again.
};

/// What the data path counts for `floe status`; since the cache manager started.
struct Counters {
  std::atomic<uint64_t> reads_hit = 0;     ///< All present when the kernel asked.
  std::atomic<uint64_t> reads_joined = 0;  ///< Waited only for flights that others had started.
  std::atomic<uint64_t> reads_filled = 0;  ///< Started at least one flight.
  std::atomic<uint64_t> reads_failed = 0;
  std::atomic<uint64_t> reads_inflight = 0;
  std::atomic<uint64_t> fetched_bytes = 0;    ///< From registries, windows included.
  std::atomic<uint64_t> layers_streamed = 0;  ///< Brought into the cache as a whole.
  std::atomic<uint64_t> streamed_bytes = 0;   ///< Compressed bytes of those that were written.
  std::atomic<uint64_t> streams_failed = 0;
  std::array<FaultCount, kFaultKinds> faults;  ///< By FaultKind.
  std::atomic<uint64_t> integrity_errors = 0;  ///< The faults that are no network errors.
};

}  // namespace floe::cachemgr
