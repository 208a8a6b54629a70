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

namespace floe::cachemgr {

class Blob;

/// What an attempt to fetch the bytes of one or more units is about.
struct FetchTask {
  std::shared_ptr<Blob> blob;
  uint32_t attempt = 0;       ///< Counts sources tried; the source is attempt % sources.
  bool retry_of_lie = false;  ///< Bytes of an earlier attempt did not match: no further retry.
  bool prefetch = false;      ///< Counted against the limit of prefetch requests.
};

/// One such attempt. Constant but for the answers, which the fetch loop delivers and the workers
/// read after the last one.
struct FetchJob {
  FetchTask task;
  std::vector<std::shared_ptr<Flight>> flights;  ///< Of plan.units, in that order.
  FetchPlan plan;

  Mutex mutex;
  uint32_t parts_missing FLOE_GUARDED_BY(mutex) = 0;
  std::string data FLOE_GUARDED_BY(mutex);            ///< plan.range of the blob.
  std::string windows FLOE_GUARDED_BY(mutex);         ///< plan.windows of the windows object.
  std::optional<Error> error FLOE_GUARDED_BY(mutex);  ///< Of the part that failed first.
};

}  // namespace floe::cachemgr
