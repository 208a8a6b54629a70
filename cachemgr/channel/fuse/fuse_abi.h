#pragma once

#include <linux/fuse.h>

#include <cstdint>

/// What linux/fuse.h of Debian 12 (protocol 7.38) does not name yet.
namespace floe::cachemgr {

/// INIT flag: the kernel sends again, on FUSE_NOTIFY_RESEND, what a dead reader of the device had
/// taken and not answered (Linux 6.9).
inline constexpr uint64_t kFuseHasResend = 1ULL << 39U;

}  // namespace floe::cachemgr
