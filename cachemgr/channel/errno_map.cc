#include "cachemgr/channel/errno_map.h"

#include <cerrno>

namespace floe::cachemgr {

int ErrnoForReply(const Error& error) {
  switch (error.code) {
    case ErrorCode::kResourceExhausted:
      return error.os_errno == ENOSPC || error.os_errno == EDQUOT ? ENOSPC : EIO;
    case ErrorCode::kDeadlineExceeded:
      return ETIMEDOUT;
    case ErrorCode::kCancelled:
      return EINTR;
    default:
      return EIO;
  }
}

}  // namespace floe::cachemgr
