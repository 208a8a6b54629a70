#pragma once

#include <memory>

#include "base/clock.h"
#include "base/result.h"
#include "snapshotter/root_layout.h"
#include "snapshotter/store/metastore.h"

namespace floe::snapshotter {

/// Opens the metadata store of a root; makes it where there never was one. DataLoss when it is
/// damaged, gone, or older than the directories beside it: never made anew by itself. The caller
/// holds the root's lock.
Result<std::unique_ptr<MetaStore>> OpenSoundStore(const RootLayout& layout, const Clock& clock);

/// The same, and the message of a DataLoss names the command that repairs it.
Result<std::unique_ptr<MetaStore>> OpenRootStore(const RootLayout& layout, const Clock& clock);

}  // namespace floe::snapshotter
