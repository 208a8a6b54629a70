#pragma once

#include <cstdint>
#include <deque>
#include <string_view>

#include "base/byte_range.h"
#include "base/digest.h"
#include "base/error.h"
#include "cachemgr/cache/counters.h"
#include "cachemgr/cache/log_budget.h"

namespace floe::cachemgr {

/// One request for bytes of a blob that went wrong. Borrows everything.
struct FetchFault {
  const Error& error;
  std::string_view registry;  ///< host[:port] of the source.
  const Digest& digest;
  ByteRange range;
  uint32_t attempt = 1;
  bool retried = false;  ///< The same bytes are asked for again.
};

/// Counts every fault by its kind, and writes a line for it while its kind's budget lasts: a storm
/// of one kind hides no other. Cancelled fetches are no faults. Thread-safe; does not wait.
class FaultLog {
 public:
  /// Both must outlive this.
  FaultLog(Counters& counters, const Clock& clock);

  void Report(const FetchFault& fault);

 private:
  Counters& counters_;
  std::deque<LogBudget> budgets_;  // By kind.
};

}  // namespace floe::cachemgr
