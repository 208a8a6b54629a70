#pragma once

#include <atomic>
#include <cstddef>
#include <functional>

#include "base/result.h"

namespace floe::prepare {

/// One piece of work; `failed` becomes true when another piece failed: long work looks at it and
/// gives up with Cancelled.
using ParallelWork = std::function<Result<void>(size_t index, const std::atomic<bool>& failed)>;

/// Runs work(0) .. work(count - 1), at most `width` at a time, the calling thread among the workers
/// (with fewer where the system gives no more threads). Returns when all that were started have
/// ended: the first error, after which no further piece is started.
Result<void> ForEachParallel(size_t count, size_t width, const ParallelWork& work);

}  // namespace floe::prepare
