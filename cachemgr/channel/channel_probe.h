#pragma once

#include <filesystem>

#include "base/result.h"
#include "cachemgr/channel/channel.h"
#include "cachemgr/channel/erofs_mount.h"

namespace floe::cachemgr {

/// The functional test behind OnDemandChannel::Probe: a tiny image with one blob is mounted through
/// the channel inside `scratch` (an empty private directory on the cache file system). A demanded
/// range must read right after it was filled, a refused one must fail, and everything must unmount.
Result<void> ProbeChannel(OnDemandChannel& channel, const std::filesystem::path& scratch);

/// The same for complete blobs (MountPlain).
Result<void> ProbePlainMount(Attachment attachment, const std::filesystem::path& scratch);

}  // namespace floe::cachemgr
