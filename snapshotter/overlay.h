#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "snapshotter/root_layout.h"
#include "snapshotter/types.h"

namespace floe::snapshotter {

/// What this kernel's overlayfs can be told.
struct OverlaySupport {
  bool index = false;  ///< It knows index=, which is then switched off as containerd does.

  /// `module_parameters`: /sys/module/overlay/parameters, another directory in tests.
  static OverlaySupport Probe(const std::filesystem::path& module_parameters);
};

/// The mount of an active snapshot or a view on `lowers` (top first):
///
///     active, no lowers     bind of its own directory, rw
///     active                overlay: workdir, upperdir, lowerdir
///     view, no lowers       bind of its own (empty) directory, ro
///     view, one lower       bind of the lower, ro
///     view                  overlay: lowerdir
///
/// with uidmap= and gidmap= when the labels name a user namespace's mappings.
std::vector<Mount> SnapshotMounts(const RootLayout& layout, uint64_t id, const Info& info,
                                  std::span<const std::filesystem::path> lowers,
                                  OverlaySupport support);

}  // namespace floe::snapshotter
