#include "cachemgr/cache/fault_log.h"

#include "base/log.h"

namespace floe::cachemgr {

FaultLog::FaultLog(Counters& counters, const Clock& clock) : counters_(counters) {
  for (size_t kind = 0; kind < kFaultKinds; ++kind) {
    budgets_.emplace_back(clock);
  }
}

void FaultLog::Report(const FetchFault& fault) {
  if (fault.error.code == ErrorCode::kCancelled) {
    return;
  }
  const FaultKind kind =
      fault.error.fault == FaultKind::kNone ? FaultKind::kOther : fault.error.fault;
  const bool integrity = IsIntegrityFault(kind);
  FaultCount& count = counters_.faults.at(static_cast<size_t>(kind));
  ++count.all;
  if (fault.retried) {
    ++count.retried;
  }
  if (integrity) {
    ++counters_.integrity_errors;
  }
  if (!budgets_.at(static_cast<size_t>(kind)).Take()) {
    return;
  }
  LogLine(
      integrity ? LogLevel::kError : LogLevel::kWarning,
      fmt::format("fetch fault kind={} registry={} digest={} offset={} length={} attempt={} "
                  "retried={} reason=\"{}\"",
                  FaultKindName(kind), fault.registry, fault.digest.ToString(), fault.range.offset,
                  fault.range.length, fault.attempt, fault.retried, fault.error.message));
}

}  // namespace floe::cachemgr
