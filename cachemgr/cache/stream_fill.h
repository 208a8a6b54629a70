#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>

#include "base/byte_range.h"
#include "base/mutex.h"
#include "cachemgr/cache/fetch_job.h"
#include "cachemgr/cache/flight.h"
#include "cachemgr/cache/slice_decoder.h"

namespace floe::cachemgr {

/// The fill of a streamed unit (image::IsStreamed) under way. Its range is fetched in parts, each a
/// FetchJob of its own, and decoded in their order:
///
///     range   |== decoded ==|= part =|- parts[0] -|- parts[1] -|              |
///                               ^ being decoded                ^ fetch_at
///
/// Whoever has the *turn* works on it: at first the thread that starts it, then the worker that
/// took it from the work queue, where it stands at most once. Nobody has it while the part that
/// comes next is not there.
struct StreamFill {
  StreamFill(std::shared_ptr<Flight> for_flight, FetchTask for_task, ByteRange unit_range)
      : flight(std::move(for_flight)),
        range(unit_range),
        task(std::move(for_task)),
        fetch_at(unit_range.offset) {}

  const std::shared_ptr<Flight> flight;
  const ByteRange range;

  // Of whoever has the turn.
  FetchTask task;     ///< Of the part that is fetched next; its attempts since a part came.
  uint64_t fetch_at;  ///< Where the part after parts.back() starts.
  std::shared_ptr<FetchJob> part;  ///< Null: the next one is to be taken.
  size_t used = 0;                 ///< Bytes of it.
  std::unique_ptr<SliceDecoder> decoder;

  struct Part {
    std::shared_ptr<FetchJob> job;
    bool arrived = false;  ///< Or failed.
  };
  Mutex mutex;
  std::deque<Part> parts FLOE_GUARDED_BY(mutex);
  bool has_turn FLOE_GUARDED_BY(mutex) = true;  ///< Somebody has the turn, or it is in the queue.
};

}  // namespace floe::cachemgr
