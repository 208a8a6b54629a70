#pragma once

#include <cstdint>
#include <span>
#include <vector>

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

/// The pieces of a regular file that take device space, the rest of it being holes: `data` are its
/// runs, sorted. Each lies on a block boundary at or behind `device_end`, which moves to the end of
/// the last one, rounded up. InvalidArgument: beyond kMaxDeviceBytes.
Result<void> PlaceFile(std::span<const TarFragment> data, uint64_t size_bytes, uint64_t& device_end,
                       std::vector<Segment>& segments);

/// Where on the device a run of the archive went.
struct Placement {
  uint64_t archive_offset = 0;
  uint64_t length = 0;
  uint64_t device_offset = 0;
  [[nodiscard]] uint64_t device_end() const { return device_offset + length; }
  bool operator==(const Placement&) const = default;
};
/// The placements of a file's data on its segments.
void PlaceData(std::span<const TarFragment> data, std::span<const Segment> segments,
               std::vector<Placement>& placements);

/// Writes the tree down as a LayerIndexData with one blob (whose counts and device size are filled
/// in here). Deterministic: inodes are numbered breadth first, children sorted by name.
///
/// The device holds the contents of the files that are still reachable, in archive order, each on a
/// block boundary. A hole that fills whole granules takes no device space and has no segment; the
/// rest of a file is laid out in one piece per run of granules. Units and groups that no file draws
/// from are left out; a unit keeps its `window` as it was.
/// InvalidArgument: more than the model can hold, or a file's content that no group covers.
/// `fragments` are those that the nodes refer to. `placements`, when not null, gets those of all
/// files, sorted by archive offset and by device offset.
Result<LayerIndexData> LayOutLayer(const LayerTree& tree, std::span<const TarFragment> fragments,
                                   SourceBlob blob, const ArchiveMap& archive,
                                   std::vector<Placement>* placements = nullptr);

}  // namespace floe::image
