#pragma once

#include "base/error.h"

namespace floe::cachemgr {

/// The errno (positive) a kernel request fails with. Never 0. EROFS turns all of them into EIO for
/// the program that reads; they differ in kernel logs and traces only.
///
/// | code                                   | errno     |
/// |----------------------------------------|-----------|
/// | ResourceExhausted with ENOSPC, EDQUOT  | ENOSPC    |
/// | DeadlineExceeded                       | ETIMEDOUT |
/// | Cancelled                              | EINTR     |
/// | everything else                        | EIO       |
int ErrnoForReply(const Error& error);

}  // namespace floe::cachemgr
