#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace floe::cachemgr {

/// A line of /proc/self/mountinfo (proc(5)).
struct MountPoint {
  dev_t device = 0;
  std::string type;
};

/// The topmost mount on exactly this path (absolute, without symlinks) in the text of a mountinfo
/// file.
std::optional<MountPoint> FindMountPoint(std::string_view mountinfo,
                                         const std::filesystem::path& path);
/// The same in this process's mount namespace.
Result<std::optional<MountPoint>> CurrentMountPoint(const std::filesystem::path& path);

/// True while the kernel has a superblock of this st_dev, mounted here, elsewhere, or nowhere any
/// more with files of it open. Where the kernel cannot be asked (no ustat(2)): true. A number may
/// belong to another one by now.
bool SuperblockIsAlive(dev_t device);

}  // namespace floe::cachemgr
