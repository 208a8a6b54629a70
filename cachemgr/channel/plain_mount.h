#pragma once

#include <sys/types.h>

#include <filesystem>

#include "base/result.h"
#include "cachemgr/channel/channel.h"
#include "cachemgr/channel/erofs_mount.h"

namespace floe::cachemgr {

/// The channel "none": all blobs are complete, their data files are mounted as they are, and no
/// daemon is in the path; such mounts outlive the cache manager. All or nothing; returns the
/// mount's st_dev.
Result<dev_t> MountPlain(const MountSpec& spec, Attachment attachment);

}  // namespace floe::cachemgr
