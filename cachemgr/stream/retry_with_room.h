#pragma once

#include <functional>
#include <utility>

#include "base/result.h"

namespace floe::cachemgr {

/// Makes room on a full disk: true when another attempt is worth it. May wait for the disk.
using MakeRoom = std::function<bool()>;

/// Calls `write`, again as long as the disk is full and room can be made. What `write` says else;
/// ResourceExhausted: there is no room.
template <typename Write>
Result<void> RetryWithRoom(const MakeRoom& make_room, const Write& write) {
  for (;;) {
    Result<void> written = write();
    if (written.has_value() || written.error().code != ErrorCode::kResourceExhausted) {
      return written;
    }
    if (!make_room()) {
      return WithContext(std::move(written).error(), "no room in the cache");
    }
  }
}

}  // namespace floe::cachemgr
