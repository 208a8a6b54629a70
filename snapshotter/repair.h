#pragma once

#include <cstdint>
#include <filesystem>

#include "base/clock.h"
#include "base/result.h"
#include "snapshotter/root_layout.h"

namespace floe::snapshotter {

struct RepairReport {
  bool was_sound = false;            ///< There was nothing to do.
  uint64_t kept = 0;                 ///< Snapshots.
  uint64_t lost = 0;                 ///< Snapshots of which a trace was found.
  std::filesystem::path aside = {};  ///< Where the old store and the files of the lost ones are.
};

/// Makes a sound metadata store from what can be read of one that is damaged or gone (salvage.h).
/// Deletes nothing: the old store and directories that no snapshot has any more go to a new
/// directory below lost_and_found(). When it fails, or is killed, it can be run again. NotFound:
/// there never was a store. FailedPrecondition: a newer Floe wrote it. The caller holds the root's
/// lock.
Result<RepairReport> RepairStore(const RootLayout& layout, const Clock& clock);

}  // namespace floe::snapshotter
