#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "image/layer_index.h"
#include "image/layer_tree.h"
#include "image/tar_reader.h"

namespace floe::image {

/// Where the archive's bytes are: units whose decoded outputs, end to end, are the archive (or a
/// stand-in for it, whose offsets mean nothing else), and groups, sorted and not overlapping within
/// each unit, that cover at least all contents of files.
struct ArchiveMap {
  std::span<const Unit> units;
  std::span<const Group> groups;
  /// So many of the first units are to be fetched ahead of any demand.
  size_t prefetch_units = 0;
};

/// Holes of sparse files are kept in granules of this many bytes, aligned in the file.
inline constexpr uint64_t kHoleGranuleBytes = 64U << 10U;

/// Writes the tree down as a LayerIndexData with one blob (whose counts and device size are filled
/// in here). Deterministic: inodes are numbered breadth first, children sorted by name.
///
/// The device holds the contents of the files that are still reachable, in archive order, each on a
/// block boundary. A hole that fills whole granules takes no device space and has no segment; the
/// rest of a file is laid out in one piece per run of granules. Units and groups that no file draws
/// from are left out; a unit keeps its `window` as it was.
/// InvalidArgument: more than the model can hold, or a file's content that no group covers.
/// `fragments` are those that the nodes refer to.
Result<LayerIndexData> LayOutLayer(const LayerTree& tree, std::span<const TarFragment> fragments,
                                   SourceBlob blob, const ArchiveMap& archive);

}  // namespace floe::image
