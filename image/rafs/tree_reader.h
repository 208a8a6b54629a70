#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "image/layer_index.h"
#include "image/rafs/directory.h"
#include "image/rafs/file_chunks.h"
#include "image/rafs/inode.h"

namespace floe::image::rafs {

/// Reads the directory tree of a bootstrap into the tree half of a LayerIndexData: inodes (breadth
/// first, names sorted), dirents, segments, xattrs and strings.
///
/// A bootstrap is a whole image, its whiteouts applied. What overlayfs above the mount would take
/// for its own is left out: 0/0 character devices (whiteouts) and trusted.overlay.* attributes.
/// Directories are reached once, with right "." and ".." and link counts; no byte of the bootstrap
/// belongs to two inodes (what they claim together is never more than it has), which bounds the
/// work. LayerIndex::Create checks the rest.
class TreeReader {
 public:
  /// All must outlive this.
  TreeReader(Bytes bootstrap, const Superblock& superblock, ChunkResolver& chunks,
             LayerIndexData& data)
      : bootstrap_(bootstrap), superblock_(superblock), chunks_(chunks), data_(data) {}

  /// Once.
  Result<void> Run();
  /// After Run: the inode's number in the LayerIndexData, or nothing.
  [[nodiscard]] const uint32_t* Find(uint64_t nid) const;

 private:
  struct Node {
    InodeRecord inode;
    uint64_t parent = 0;  ///< Directories: its nid.
    uint32_t names = 0;
  };

  Result<uint32_t> AddNode(uint64_t nid, uint64_t parent);
  Result<void> ReadNode(uint32_t number);
  Result<void> ReadContent(const Node& node, Inode& to);
  Result<void> ReadChildren(const Node& node, Inode& to);
  Result<void> AddChild(const DirectoryEntry& entry, const Node& parent, uint32_t& directories);
  Result<void> ReadTarget(const InodeRecord& inode, Inode& to);
  Result<void> AddXattrs(const InodeRecord& inode, Inode& to);
  Result<void> Claim(const InodeRecord& inode);
  Result<StringRef> Append(std::string_view text);

  const Bytes bootstrap_;
  const Superblock& superblock_;
  ChunkResolver& chunks_;
  LayerIndexData& data_;
  std::vector<Node> nodes_;  ///< By number; those behind data_.inodes are still to be read.
  std::unordered_map<uint64_t, uint32_t> numbers_;  ///< By nid.
  uint64_t claimed_bytes_ = 0;
};

}  // namespace floe::image::rafs
