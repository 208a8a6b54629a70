#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace floe::cachemgr {

/// A read-only loop device over an open file, freed by the kernel when its last user is gone
/// (autoclear): hold `fd` until the mount that uses it exists, then let go.
struct LoopDevice {
  UniqueFd fd;
  std::string path;  ///< "/dev/loop7"
};

/// Finds a free loop device and configures it in one step (LOOP_CONFIGURE, Linux 5.8).
/// FailedPrecondition: no loop driver, or none free after many tries.
Result<LoopDevice> AttachLoopDevice(int file_fd);

}  // namespace floe::cachemgr
