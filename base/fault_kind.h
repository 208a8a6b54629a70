#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace floe {

/// How a request for bytes of a blob went wrong, finer than an ErrorCode: what operators count and
/// look for. The names are stable (docs/registry-faults.md).
enum class FaultKind : uint8_t {
  kNone,  ///< Not the registry's doing.

  // No bytes came, or not all of them: network, refusals.
  kUnauthenticated,      ///< 401: these credentials, or none.
  kForbidden,            ///< 403 of the registry.
  kRedirectRefused,      ///< The target of a redirect refuses: commonly an expired signature.
  kNotFound,             ///< 404, 410.
  kRangeNotSatisfiable,  ///< 416.
  kTooManyRequests,      ///< 429.
  kServerError,          ///< 5xx.
  kConnection,           ///< No name, refused, reset, ended without an answer.
  kTls,                  ///< No TLS on that port, or a certificate that is not trusted.
  kStalled,              ///< Silence, or a trickle, for the whole stall timeout.
  kTimedOut,             ///< The deadline passed.
  kShortBody,            ///< The connection ended within the body.
  kOther,                ///< Any other status, a redirect to nowhere, ...

  // Integrity: the answer claims success and is not what was asked for.
  kRangeIgnored,       ///< 200 instead of 206.
  kWrongContentRange,  ///< 206 for another range, or for none.
  kWrongSize,          ///< Another length than the range's, or another size of the whole blob.
  kWrongBytes,         ///< Does not decode, or has another digest.
};

inline constexpr size_t kFaultKinds = static_cast<size_t>(FaultKind::kWrongBytes) + 1;

/// For example "range_not_satisfiable".
std::string_view FaultKindName(FaultKind kind);

/// True for what must never be taken for a mere hiccup of the network.
constexpr bool IsIntegrityFault(FaultKind kind) { return kind >= FaultKind::kRangeIgnored; }

}  // namespace floe
