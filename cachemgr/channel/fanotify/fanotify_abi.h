#pragma once

#include <linux/fanotify.h>

#include <cstdint>

/// Pre-content events (Linux 6.14, include/uapi/linux/fanotify.h), which Debian 12's headers do not
/// name yet.
namespace floe::cachemgr {

/// Before bytes of the marked file are read or written; the accessor waits for the answer.
inline constexpr uint64_t kFanPreAccess = 0x00100000;
/// Which bytes: of the marked file, whole pages. Beside every pre-content event.
inline constexpr uint8_t kFanEventInfoTypeRange = 6;
struct FanEventInfoRange {
  fanotify_event_info_header header;
  uint32_t pad;
  uint64_t offset;
  uint64_t count;
};
static_assert(sizeof(FanEventInfoRange) == 24);

/// A refusal with this errno. The kernel takes EPERM, EIO, EBUSY, ETXTBSY, EAGAIN, ENOSPC and
/// EDQUOT; with any other the answer fails and the event stays.
constexpr uint32_t FanDenyErrno(int error_number) {
  constexpr unsigned kErrnoShift = 24;
  return FAN_DENY | (static_cast<uint32_t>(error_number) << kErrnoShift);
}

}  // namespace floe::cachemgr
