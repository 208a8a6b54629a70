#include "base/error.h"

#include <cerrno>
#include <system_error>

namespace floe {

std::string_view ErrorCodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kCancelled:
      return "CANCELLED";
    case ErrorCode::kUnknown:
      return "UNKNOWN";
    case ErrorCode::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case ErrorCode::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case ErrorCode::kNotFound:
      return "NOT_FOUND";
    case ErrorCode::kAlreadyExists:
      return "ALREADY_EXISTS";
    case ErrorCode::kPermissionDenied:
      return "PERMISSION_DENIED";
    case ErrorCode::kResourceExhausted:
      return "RESOURCE_EXHAUSTED";
    case ErrorCode::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case ErrorCode::kAborted:
      return "ABORTED";
    case ErrorCode::kOutOfRange:
      return "OUT_OF_RANGE";
    case ErrorCode::kUnimplemented:
      return "UNIMPLEMENTED";
    case ErrorCode::kInternal:
      return "INTERNAL";
    case ErrorCode::kUnavailable:
      return "UNAVAILABLE";
    case ErrorCode::kDataLoss:
      return "DATA_LOSS";
    case ErrorCode::kUnauthenticated:
      return "UNAUTHENTICATED";
  }
  return "UNKNOWN";
}

std::string Error::ToString() const { return fmt::format("{}: {}", ErrorCodeName(code), message); }

Error WithContext(Error error, std::string_view context) {
  error.message = fmt::format("{}: {}", context, error.message);
  return error;
}

Error WithFault(Error error, FaultKind fault) {
  error.fault = fault;
  return error;
}

Error ErrnoError(int os_errno, std::string_view what) {
  Error error;
  error.message = fmt::format("{}: {}", what, std::generic_category().message(os_errno));
  error.os_errno = os_errno;
  switch (os_errno) {
    case ENOENT:
      error.code = ErrorCode::kNotFound;
      break;
    case EEXIST:
      error.code = ErrorCode::kAlreadyExists;
      break;
    case EACCES:
    case EPERM:
      error.code = ErrorCode::kPermissionDenied;
      break;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      error.code = ErrorCode::kResourceExhausted;
      break;
    case EAGAIN:
    case ECONNREFUSED:
    case ECONNRESET:
      error.code = ErrorCode::kUnavailable;
      break;
    case ETIMEDOUT:
      error.code = ErrorCode::kDeadlineExceeded;
      break;
    case EBUSY:
      error.code = ErrorCode::kFailedPrecondition;
      break;
    default:
      error.code = ErrorCode::kInternal;
      break;
  }
  return error;
}

}  // namespace floe
