#pragma once

#include <filesystem>

#include "base/result.h"
#include "base/unique_fd.h"

namespace floe::cachemgr {

/// The cache manager's own directory, locked while this lives.
struct RootDirectory {
  std::filesystem::path path;  ///< Absolute, without symlinks.
  UniqueFd lock;               ///< flock(2) on the file "lock".
};

/// Creates it (0700) with blobs/ and mounts/ where missing. FailedPrecondition: it belongs to
/// someone else, others may enter it, or another cache manager uses it.
Result<RootDirectory> OpenRootDirectory(const std::filesystem::path& path);

}  // namespace floe::cachemgr
