#pragma once

#include <string_view>

#include "base/unique_fd.h"

namespace floe::cachemgr {

/// A descriptor that the process was started with under this name, by the protocol of
/// sd_listen_fds(3): LISTEN_PID is this process, LISTEN_FDS counts descriptors from 3 on,
/// LISTEN_FDNAMES names them, separated by colons. A service manager's descriptor store and
/// floe-keeper both speak it. Invalid when there is none. Close-on-exec from now on; take each
/// once.
UniqueFd TakeInheritedFd(std::string_view name);

}  // namespace floe::cachemgr
