#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/fault_kind.h"

namespace floe {

/// What went wrong, by what the caller should do. The numbers are gRPC's canonical codes.
enum class ErrorCode : int {
  kCancelled = 1,           ///< The caller gave up.
  kUnknown = 2,             ///< Nothing better is known.
  kInvalidArgument = 3,     ///< The request (or its input bytes) can never work.
  kDeadlineExceeded = 4,    ///< Ran out of time.
  kNotFound = 5,            ///< The named thing does not exist.
  kAlreadyExists = 6,       ///< It exists already (and on Prepare: the layer is available).
  kPermissionDenied = 7,    ///< These credentials may not do it.
  kResourceExhausted = 8,   ///< Quota, disk or rate limit.
  kFailedPrecondition = 9,  ///< An operator must act first.
  kAborted = 10,            ///< Lost a race; start the whole operation again.
  kOutOfRange = 11,         ///< Past the end.
  kUnimplemented = 12,      ///< Recognised, but not supported here.
  kInternal = 13,           ///< Our bug.
  kUnavailable = 14,        ///< Retry with back-off.
  kDataLoss = 15,           ///< Digest, length or range mismatch: never trust these bytes.
  kUnauthenticated = 16,    ///< Credentials are missing or wrong.
};

/// The canonical name, for example "NOT_FOUND".
std::string_view ErrorCodeName(ErrorCode code);

/// One failure. Copyable; the message is one line and never holds a secret.
struct Error {
  ErrorCode code = ErrorCode::kUnknown;
  std::string message;
  int os_errno = 0;                                           ///< 0 when no system call failed.
  std::optional<std::chrono::milliseconds> retry_after = {};  ///< From a 429 or 503 answer.
  FaultKind fault = FaultKind::kNone;                         ///< Of a request to a registry.

  /// "NOT_FOUND: message", for logs and terminals.
  [[nodiscard]] std::string ToString() const;
};

/// Prefixes the message once per boundary: "context: message".
Error WithContext(Error error, std::string_view context);

/// Says which fault of a registry it is.
Error WithFault(Error error, FaultKind fault);

/// From errno after a failed call. The code is chosen by meaning (ENOENT -> NotFound, ENOSPC ->
/// ResourceExhausted, EACCES/EPERM -> PermissionDenied, EEXIST -> AlreadyExists, else Internal).
Error ErrnoError(int os_errno, std::string_view what);

#define FLOE_DEFINE_ERROR_FACTORY(name)                                                 \
  template <typename... Args>                                                           \
  Error name(fmt::format_string<Args...> format, Args&&... args) {                      \
    return Error{ErrorCode::k##name, fmt::format(format, std::forward<Args>(args)...)}; \
  }
FLOE_DEFINE_ERROR_FACTORY(Cancelled)
FLOE_DEFINE_ERROR_FACTORY(Unknown)
FLOE_DEFINE_ERROR_FACTORY(InvalidArgument)
FLOE_DEFINE_ERROR_FACTORY(DeadlineExceeded)
FLOE_DEFINE_ERROR_FACTORY(NotFound)
FLOE_DEFINE_ERROR_FACTORY(AlreadyExists)
FLOE_DEFINE_ERROR_FACTORY(PermissionDenied)
FLOE_DEFINE_ERROR_FACTORY(ResourceExhausted)
FLOE_DEFINE_ERROR_FACTORY(FailedPrecondition)
FLOE_DEFINE_ERROR_FACTORY(Aborted)
FLOE_DEFINE_ERROR_FACTORY(OutOfRange)
FLOE_DEFINE_ERROR_FACTORY(Unimplemented)
FLOE_DEFINE_ERROR_FACTORY(Internal)
FLOE_DEFINE_ERROR_FACTORY(Unavailable)
FLOE_DEFINE_ERROR_FACTORY(DataLoss)
FLOE_DEFINE_ERROR_FACTORY(Unauthenticated)
#undef FLOE_DEFINE_ERROR_FACTORY

}  // namespace floe
