#pragma once

#include <filesystem>

#include "base/result.h"
#include "snapshotter/types.h"

namespace floe::snapshotter {

/// What a directory tree occupies, itself included: disk blocks and inodes, hard links once. Stays
/// on the file system it starts on. Entries that vanish meanwhile do not count; a missing directory
/// is empty. Blocking, in proportion to the number of entries.
Result<Usage> DiskUsage(const std::filesystem::path& directory);

}  // namespace floe::snapshotter
