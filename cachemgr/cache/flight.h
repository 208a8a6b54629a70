#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/byte_range.h"
#include "base/mutex.h"
#include "base/result.h"
#include "cachemgr/cache/blob_cache.h"
#include "cachemgr/cache/counters.h"
#include "cachemgr/cache/deadline_watch.h"
#include "cachemgr/cache/read_ahead.h"
#include "cachemgr/channel/channel.h"

namespace floe::cachemgr {

/// One kernel request that waits for units to be filled. Answers exactly once: when the last unit
/// is done, when one has failed, or when the deadline has passed, whichever comes first.
/// Thread-safe. What has got on with a streamed unit extends the deadline.
class Waiter final : public Expirable {
 public:
  /// `cache`, `counters` and `watch` must outlive the answer.
  Waiter(ByteRange range, std::unique_ptr<DemandReply> reply, const BlobCache& cache,
         Counters& counters, DeadlineWatch& watch)
      : range_(range), reply_(std::move(reply)), cache_(cache), counters_(counters), watch_(watch) {
    ++counters_.reads_inflight;
  }

  /// Before any unit can be done: how many there are, and what success counts as.
  void Begin(uint32_t units, std::atomic<uint64_t>& on_success) {
    pending_ = units;
    on_success_ = &on_success;
  }

  /// Once for each unit; for a streamed one as soon as what was asked for of it is there. A failure
  /// answers at once, unless what was asked for is there all the same (another group of the unit
  /// was bad).
  void UnitDone(const Result<void>& outcome);
  void Expire() override;
  /// Answers now, if nobody has.
  void Finish(const Result<void>& outcome);

  [[nodiscard]] ByteRange range() const { return range_; }

 private:
  const ByteRange range_;
  const std::unique_ptr<DemandReply> reply_;
  const BlobCache& cache_;
  Counters& counters_;
  DeadlineWatch& watch_;
  std::atomic<uint64_t>* on_success_ = nullptr;
  std::atomic<uint32_t> pending_ = 0;
  std::atomic<bool> finished_ = false;
};

/// One fill under way: who fetches the unit, for whom.
struct Flight {
  explicit Flight(uint32_t unit_index, bool is_demand) : unit(unit_index), demand(is_demand) {}
  const uint32_t unit;
  /// A kernel request waits (demand) or none does yet (prefetch). Set under the table's mutex.
  std::atomic<bool> demand;
  /// Guarded by the table's mutex.
  std::vector<std::shared_ptr<Waiter>> waiters;
};

/// Units whose fetch ended at its deadline a moment ago. The kernel asks again at once when a
/// read-ahead failed; that reader has waited long enough.
class RecentTimeouts {
 public:
  void Add(uint32_t unit, std::chrono::steady_clock::time_point now);
  [[nodiscard]] bool ContainsAny(std::span<const uint32_t> units,
                                 std::chrono::steady_clock::time_point now) const;

 private:
  std::unordered_map<uint32_t, std::chrono::steady_clock::time_point> ended_;
};

/// The flights of one blob, by unit: at most one for each.
struct FlightTable {
  Mutex mutex;
  RecentTimeouts timeouts FLOE_GUARDED_BY(mutex);
  std::unordered_map<uint32_t, std::shared_ptr<Flight>> flights FLOE_GUARDED_BY(mutex);
  ReadAhead read_ahead FLOE_GUARDED_BY(mutex);
  /// The source that streamed units begin with: others had wrong bytes.
  uint32_t stream_source FLOE_GUARDED_BY(mutex) = 0;
};

}  // namespace floe::cachemgr
