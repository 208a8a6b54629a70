#pragma once

#include <linux/fuse.h>

#include <cstdint>

/// What linux/fuse.h of Debian 12 (protocol 7.38) does not name yet.
namespace floe::cachemgr {

/// INIT flag: the kernel sends again, on FUSE_NOTIFY_RESEND, what a dead reader of the device had
/// taken and not answered (Linux 6.9).
inline constexpr uint64_t kFuseHasResend = 1ULL << 39U;
/// Notification without payload: send them now. They come with the top bit of `unique` set, which
/// belongs to the number in the answer too, and may come more than once.
inline constexpr int kFuseNotifyResend = 7;

}  // namespace floe::cachemgr
