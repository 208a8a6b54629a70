#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/layer_index.h"

namespace floe::snapshotter {

/// A run above unpacked directories may hold directories that its archives only imply, as parents
/// of what they do hold. containerd gives such a directory the metadata that it has below. This
/// makes a layer of nothing but these directories, with what is found in `lowers` (directories, top
/// first): put under the run it makes the merge show the right metadata.
///
/// `paths`: as erofs::Bootstrap::unresolved_implied ("usr/lib"). A path that is no directory below
/// is left out: 0755 root is right for it. Null when none is found. Symlinks are followed within
/// each lower directory, as containerd does. Internal when the metadata cannot be read.
Result<std::shared_ptr<const image::LayerIndex>> ReadImpliedDirectories(
    const std::vector<std::string>& paths, std::span<const std::filesystem::path> lowers);

}  // namespace floe::snapshotter
