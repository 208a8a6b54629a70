#include "base/fault_kind.h"

namespace floe {

std::string_view FaultKindName(FaultKind kind) {
  switch (kind) {
    case FaultKind::kNone:
      return "none";
    case FaultKind::kUnauthenticated:
      return "unauthenticated";
    case FaultKind::kForbidden:
      return "forbidden";
    case FaultKind::kRedirectRefused:
      return "redirect_refused";
    case FaultKind::kNotFound:
      return "not_found";
    case FaultKind::kRangeNotSatisfiable:
      return "range_not_satisfiable";
    case FaultKind::kTooManyRequests:
      return "too_many_requests";
    case FaultKind::kServerError:
      return "server_error";
    case FaultKind::kConnection:
      return "connection";
    case FaultKind::kTls:
      return "tls";
    case FaultKind::kStalled:
      return "stalled";
    case FaultKind::kTimedOut:
      return "timed_out";
    case FaultKind::kShortBody:
      return "short_body";
    case FaultKind::kOther:
      return "other";
    case FaultKind::kRangeIgnored:
      return "range_ignored";
    case FaultKind::kWrongContentRange:
      return "wrong_content_range";
    case FaultKind::kWrongSize:
      return "wrong_size";
    case FaultKind::kWrongBytes:
      return "wrong_bytes";
  }
  return "other";
}

}  // namespace floe
