#include "erofs/layout.h"

#include <sys/stat.h>

#include <limits>

#include "base/byte_range.h"
#include "erofs/chunk_map.h"
#include "erofs/directory_blocks.h"

namespace floe::erofs {
namespace {

class Placer {
 public:
  Placer(const MergedTree& tree, const Survey& survey)
      : tree_(tree), survey_(survey), xattrs_(survey) {}

  Result<Layout> Run() {
    StartInodes();
    layout_.places.resize(tree_.nodes.size());
    for (uint32_t node = 0; node < tree_.nodes.size(); ++node) {
      FLOE_RETURN_IF_ERROR(Place(node));
    }
    const uint64_t shared_bytes = survey_.xattrs.shared_area_bytes();
    layout_.shared_offset = shared_bytes > 0 ? cursor_ : 0;  // The cursor may be the image's end.
    layout_.data_offset = AlignUp(cursor_ + shared_bytes, kBlockBytes);
    layout_.total_bytes = layout_.data_offset + data_blocks_ * kBlockBytes;
    FLOE_RETURN_IF_ERROR(CheckSize(layout_.total_bytes));
    return std::move(layout_);
  }

 private:
  /// The root comes first, so its nid is small however long the device table is; nid 0 is left out,
  /// since it would become inode number 0, which readdir(3) skips.
  void StartInodes() {
    cursor_ = kSuperOffset + sizeof(SuperBlock) + survey_.devices.size() * sizeof(DeviceSlot);
    cursor_ = AlignUp(cursor_, kSlotBytes);
    layout_.meta_block = static_cast<uint32_t>(cursor_ / kBlockBytes);
    if (cursor_ % kBlockBytes == 0) {
      cursor_ += kSlotBytes;
    }
  }

  static Result<void> CheckSize(uint64_t bytes) {
    if (bytes > kMaxBootstrapBytes) {
      return InvalidArgument("the metadata of the image exceeds {} bytes", kMaxBootstrapBytes);
    }
    return Ok();
  }

  Result<void> Place(uint32_t number) {
    const MergedNode& node = tree_.nodes[number];
    const uint64_t xattr_bytes = survey_.xattrs.AreaBytes(xattrs_.Of(number));
    if (XattrCountOfBytes(xattr_bytes) > std::numeric_limits<uint16_t>::max()) {
      return InvalidArgument("an inode of layer {} has {} bytes of xattrs, too many for EROFS",
                             node.layer, xattr_bytes);
    }
    const uint64_t head = sizeof(ExtendedInode) + xattr_bytes;
    NodePlace& place = layout_.places[number];
    const uint32_t mode = tree_.mode(node);
    if (S_ISDIR(mode)) {
      place.size_bytes = DirectoryBlocks(tree_, number).SizeBytes();
      PlaceWithData(place, head);
    } else if (S_ISLNK(mode)) {
      place.size_bytes = tree_.inode(node).target.length;
      PlaceWithData(place, head);
    } else if (S_ISREG(mode)) {
      PlaceFile(place, node, head);
    } else {
      PlaceInode(place, head);
    }
    return CheckSize(cursor_ + data_blocks_ * kBlockBytes);
  }

  void PlaceFile(NodePlace& place, const MergedNode& node, uint64_t head) {
    const image::Inode& inode = tree_.inode(node);
    const ChunkShape shape =
        ShapeOf(inode.size_bytes, tree_.layers[node.layer].index->segments(inode));
    place.size_bytes = inode.size_bytes;
    place.chunk_bits = shape.bits;
    if (shape.count > 0) {
      place.layout = DataLayout::kChunkBased;
      head = AlignUp(head, sizeof(ChunkIndex)) + shape.count * sizeof(ChunkIndex);
    }
    PlaceInode(place, head);
  }

  /// The tail is inline where that costs less than a block of its own:
  ///
  ///     | ... previous | inode xattrs tail |          fits into the block
  ///     | ... previous | gap | inode xattrs tail |    moves to the next, gap + tail < block
  void PlaceWithData(NodePlace& place, uint64_t head) {
    const uint64_t tail = place.size_bytes % kBlockBytes;
    const uint64_t room = kBlockBytes - cursor_ % kBlockBytes;
    const bool fits = head + tail <= room;
    const bool fits_next = head + tail <= kBlockBytes && room + tail < kBlockBytes;
    uint64_t blocks = AlignUp(place.size_bytes, kBlockBytes) / kBlockBytes;
    if (tail != 0 && (fits || fits_next)) {
      place.layout = DataLayout::kFlatInline;
      head += tail;
      blocks = place.size_bytes / kBlockBytes;
      cursor_ += fits ? 0 : room;
    }
    if (blocks > 0) {
      place.first_block = static_cast<uint32_t>(data_blocks_);
      data_blocks_ += blocks;
    }
    PlaceInode(place, head);
  }

  /// The inode itself does not cross a block: reading it then touches one.
  void PlaceInode(NodePlace& place, uint64_t bytes) {
    const uint64_t room = kBlockBytes - cursor_ % kBlockBytes;
    if (room < sizeof(ExtendedInode)) {
      cursor_ += room;
    }
    place.nid = static_cast<uint32_t>((cursor_ - layout_.meta_block * kBlockBytes) / kSlotBytes);
    cursor_ = AlignUp(cursor_ + bytes, kSlotBytes);
  }

  const MergedTree& tree_;
  const Survey& survey_;
  XattrWalk xattrs_;
  Layout layout_;
  uint64_t cursor_ = 0;       ///< Where the next inode may begin.
  uint64_t data_blocks_ = 0;  ///< Placed so far.
};

}  // namespace

Result<Layout> PlaceTree(const MergedTree& tree, const Survey& survey) {
  return Placer(tree, survey).Run();
}

}  // namespace floe::erofs
