#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "cachemgr/cache/fill_plan.h"
#include "cachemgr/cache/flight.h"
#include "cachemgr/cache/sources.h"
#include "cachemgr/cache/windows_file.h"

namespace floe::cachemgr {

class Blob;
struct StreamFill;

/// What an attempt to fetch the bytes of one or more units is about.
struct FetchTask {
  std::shared_ptr<Blob> blob;
  uint32_t attempt = 0;                     ///< Counts sources tried.
  bool prefetch = false;                    ///< Counted against the limit of prefetch requests.
  uint64_t max_request_bytes = UINT64_MAX;  ///< And no more than MergeLimits say.
  uint32_t first_source = 0;                ///< That was tried, for attempt 0.

  /// Modulo the number of sources.
  [[nodiscard]] uint32_t source() const { return first_source + attempt; }
};

/// What became of one of its range requests.
struct FetchAnswer {
  uint32_t retries = 0;        ///< By the fetcher, so far.
  std::string bytes;           ///< When it succeeded,
  std::optional<Error> error;  ///< and when not.
};

/// One such attempt. Constant but for the answers, which the fetch loop delivers and the workers
/// read after the last one.
struct FetchJob {
  FetchTask task;
  std::vector<std::shared_ptr<Flight>> flights;  ///< Of plan.units, in that order.
  std::shared_ptr<StreamFill> stream = nullptr;  ///< Not null: it is a part of this one.
  FetchPlan plan;
  Source source;                             ///< Set before the first part starts, as what follows.
  bool last_source = false;                  ///< All others have been tried.
  std::shared_ptr<WindowsFile> own_windows;  ///< Not null: the windows are read there.

  Mutex mutex;
  uint32_t parts_missing FLOE_GUARDED_BY(mutex) = 0;
  FetchAnswer data FLOE_GUARDED_BY(mutex);     ///< plan.range of the blob.
  FetchAnswer windows FLOE_GUARDED_BY(mutex);  ///< plan.windows of the windows object.
};

}  // namespace floe::cachemgr
