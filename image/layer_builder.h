#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "image/layer_index.h"
#include "image/layer_layout.h"
#include "image/layer_tree.h"
#include "image/tar_reader.h"

namespace floe::image {

/// Applies the entries of a layer's archive as containerd unpacks them into the layer's own
/// directory for overlayfs (archive.Apply of containerd 1.6 to 2.1), and writes the result down.
///
/// - Names are made relative and cleaned; what then starts with ".." is refused. The root itself
///   cannot be changed: its entry is skipped.
/// - A parent is found through the symlinks of this layer, clamped at the root; what is missing is
///   an implied directory; what is not a directory, whiteouts included, refuses the layer.
/// - A name that exists is replaced, but a directory takes a directory's metadata on.
/// - A hard link needs its target to exist in this layer at that moment and not to be a directory;
///   the link's own metadata is set on the shared inode.
/// - ".wh..wh..opq" makes its directory opaque; ".wh.NAME" hides NAME of the lower layers (what
///   this layer has there already stays, a directory becomes opaque); so does a 0/0 character
///   device. A later entry replaces a whiteout and does not keep what lay below hidden.
/// - Extended attributes that an unpacking root could not set are dropped, trusted.* always.
/// - Times before 1970 and after 2262 become 0.
///
/// Errors are InvalidArgument and name the entry. One thread at a time.
class LayerBuilder final : public TarEntrySink {
 public:
  Result<void> OnEntry(const TarEntry& entry) override;

  /// See LayOutLayer. The builder keeps its state.
  Result<LayerIndexData> Finish(SourceBlob blob, const ArchiveMap& archive,
                                std::vector<Placement>* placements = nullptr) const {
    return LayOutLayer(tree_, fragments_, std::move(blob), archive, placements);
  }

 private:
  using NodeId = LayerTree::NodeId;
  using Place = LayerTree::Place;

  Result<void> Apply(const TarEntry& entry);
  Result<void> AddWhiteout(const Place& place);
  Result<void> AddHardLink(const Place& place, const TarEntry& entry);
  Result<void> AddSymlink(const Place& place, const TarEntry& entry);
  Result<void> AddRegular(const Place& place, const TarEntry& entry);
  Result<void> AddDirectory(const Place& place, const TarEntry& entry);
  Result<void> AddDevice(const Place& place, const TarEntry& entry);
  Result<void> AddNode(const Place& place, const TarEntry& entry);
  Result<void> SetMetadata(NodeId id, const TarEntry& entry);
  Result<void> SetXattrs(LayerTree::Node& node, const TarEntry& entry);

  LayerTree tree_;
  std::vector<TarFragment> fragments_;
};

}  // namespace floe::image
