#include "erofs/writer.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "base/byte_range.h"
#include "base/digest.h"
#include "erofs/chunk_map.h"
#include "erofs/directory_blocks.h"
#include "erofs/format.h"
#include "erofs/layout.h"
#include "erofs/merge.h"
#include "erofs/survey.h"

namespace floe::erofs {
namespace {

/// Paths of implied directories go to a caller who resolves each of them; more than this is no
/// image that anybody built.
constexpr uint64_t kMaxUnresolvedPathBytes = 64U << 20U;
constexpr uint64_t kDeviceTableOffset = kSuperOffset + sizeof(SuperBlock);
static_assert(kDeviceTableOffset % sizeof(DeviceSlot) == 0);

class ImageWriter {
 public:
  ImageWriter(const MergedTree& tree, const Survey& survey, const Layout& layout)
      : tree_(tree), survey_(survey), layout_(layout) {}

  std::string Run() {
    image_.resize(layout_.total_bytes);
    StoreDevices();
    survey_.xattrs.StoreShared(at(layout_.shared_offset));
    XattrWalk xattrs(survey_);
    for (uint32_t node = 0; node < tree_.nodes.size(); ++node) {
      StoreNode(node, xattrs.Of(node));
    }
    StoreSuperBlock();
    return std::move(image_);
  }

 private:
  char* at(uint64_t offset) { return image_.data() + offset; }

  /// The unified space is the primary device and then each extra device behind the one before it.
  /// Nothing is looked up in it as long as every chunk names its device; devices that would end
  /// past its 32-bit block numbers stay out of it (address 0, which the kernel skips).
  void StoreDevices() {
    uint64_t address = layout_.total_bytes / kBlockBytes;
    for (size_t slot = 0; slot < survey_.devices.size(); ++slot) {
      const BootstrapDevice& device = survey_.devices[slot];
      DeviceSlot stored;
      std::copy(device.tag.begin(), device.tag.end(), stored.tag.begin());
      stored.blocks = static_cast<uint32_t>(device.size_bytes / kBlockBytes);
      if (address + stored.blocks < kNoBlock) {
        stored.unified_address = static_cast<uint32_t>(address);
      }
      address += stored.blocks;
      StoreAt(image_.data(), kDeviceTableOffset + slot * sizeof(DeviceSlot), stored);
    }
  }

  void StoreNode(uint32_t number, std::span<const uint32_t> xattrs) {
    const MergedNode& node = tree_.nodes[number];
    const NodePlace& place = layout_.places[number];
    const uint64_t offset = layout_.OffsetOf(place);
    const uint64_t xattr_bytes = survey_.xattrs.AreaBytes(xattrs);
    const uint64_t behind = offset + sizeof(ExtendedInode) + xattr_bytes;
    ExtendedInode inode = InodeOf(node, place);
    inode.xattr_count = static_cast<uint16_t>(XattrCountOfBytes(xattr_bytes));
    inode.ino = number + 1;
    StoreAt(image_.data(), offset, inode);
    survey_.xattrs.StoreArea(xattrs, layout_.shared_offset % kBlockBytes,
                             at(offset + sizeof(ExtendedInode)));
    if (node.directory) {
      DirectoryBlocks(tree_, number).Store(layout_, DataOf(place), at(behind));
    } else if (S_ISLNK(inode.mode)) {
      const std::string_view target = index(node).str(tree_.inode(node).target);
      const bool inline_target = place.layout == DataLayout::kFlatInline;
      std::copy(target.begin(), target.end(), inline_target ? at(behind) : DataOf(place));
    } else if (place.layout == DataLayout::kChunkBased) {
      const auto segments = index(node).segments(tree_.inode(node));
      StoreChunks(ShapeOf(place.size_bytes, segments), segments, survey_.device_of_blob(node.layer),
                  at(AlignUp(behind, sizeof(ChunkIndex))));
    }
  }

  [[nodiscard]] const image::LayerIndex& index(const MergedNode& node) const {
    return *tree_.layers[node.layer].index;
  }

  /// The node's whole blocks; the start of the image where it has none.
  char* DataOf(const NodePlace& place) {
    return place.first_block == kNoBlock
               ? at(0)
               : at(layout_.data_offset + place.first_block * kBlockBytes);
  }

  [[nodiscard]] ExtendedInode InodeOf(const MergedNode& node, const NodePlace& place) const {
    ExtendedInode inode;
    inode.format = InodeFormat(place.layout);
    inode.mode = static_cast<uint16_t>(tree_.mode(node));
    inode.nlink = node.nlink;
    inode.size = place.size_bytes;
    inode.data = DataFieldOf(node, place);
    if (node.kind == NodeKind::kWhiteout) {
      return inode;
    }
    const image::Inode& source = tree_.inode(node);
    inode.mtime = static_cast<uint64_t>(source.mtime_seconds);
    inode.mtime_nanoseconds = source.mtime_nanoseconds;
    if (node.kind == NodeKind::kInode) {
      inode.uid = source.uid;
      inode.gid = source.gid;
    }
    return inode;
  }

  [[nodiscard]] uint32_t DataFieldOf(const MergedNode& node, const NodePlace& place) const {
    const uint32_t mode = tree_.mode(node);
    if (place.layout == DataLayout::kChunkBased) {
      return kChunkIndexes | place.chunk_bits;
    }
    if (S_ISDIR(mode) || S_ISLNK(mode) || S_ISREG(mode)) {
      return place.first_block == kNoBlock
                 ? kNoBlock
                 : static_cast<uint32_t>(layout_.data_offset / kBlockBytes) + place.first_block;
    }
    if (node.kind == NodeKind::kInode && (S_ISCHR(mode) || S_ISBLK(mode))) {
      const image::Inode& source = tree_.inode(node);
      return EncodeDevice(source.rdev_major, source.rdev_minor);
    }
    return 0;
  }

  /// Last: the UUID and the checksum cover the rest.
  void StoreSuperBlock() {
    SuperBlock super;
    super.feature_compat = kCompatChecksum | kCompatMtime;
    super.root_nid = static_cast<uint16_t>(layout_.places.front().nid);
    super.inode_count = tree_.nodes.size();
    super.blocks = static_cast<uint32_t>(layout_.total_bytes / kBlockBytes);
    super.meta_block = layout_.meta_block;
    super.xattr_block = static_cast<uint32_t>(layout_.shared_offset / kBlockBytes);
    super.feature_incompat = kIncompatChunkedFile;
    if (!survey_.devices.empty()) {
      super.feature_incompat |= kIncompatDeviceTable;
      super.extra_devices = static_cast<uint16_t>(survey_.devices.size());
      super.device_table_slot = static_cast<uint16_t>(kDeviceTableOffset / sizeof(DeviceSlot));
    }
    StoreAt(image_.data(), kSuperOffset, super);
    const Digest digest = Digest::Of(image_);
    std::copy_n(digest.bytes().begin(), super.uuid.size(), super.uuid.begin());
    StoreAt(image_.data(), kSuperOffset, super);
    super.checksum = SuperBlockChecksum(image_);
    StoreAt(image_.data(), kSuperOffset, super);
  }

  const MergedTree& tree_;
  const Survey& survey_;
  const Layout& layout_;
  std::string image_;
};

Result<std::vector<std::string>> PathsOfUnresolved(const MergedTree& tree) {
  std::vector<std::string> paths;
  uint64_t bytes = 0;
  for (uint32_t node : tree.unresolved_implied) {
    paths.push_back(tree.PathOf(node));
    bytes += paths.back().size();
    if (bytes > kMaxUnresolvedPathBytes) {
      return InvalidArgument("the paths of implied directories exceed {} bytes",
                             kMaxUnresolvedPathBytes);
    }
  }
  return paths;
}

}  // namespace

Result<Bootstrap> WriteBootstrap(std::span<const MergeLayer> bottom_to_top,
                                 const WriteOptions& options) {
  FLOE_ASSIGN_OR_RETURN(const MergedTree tree, MergeLayers(bottom_to_top, options.whiteouts));
  FLOE_ASSIGN_OR_RETURN(Survey survey, SurveyTree(tree));
  FLOE_ASSIGN_OR_RETURN(const Layout layout, PlaceTree(tree, survey));
  Bootstrap bootstrap;
  FLOE_ASSIGN_OR_RETURN(bootstrap.unresolved_implied, PathsOfUnresolved(tree));
  bootstrap.inode_count = tree.nodes.size();
  bootstrap.bytes = ImageWriter(tree, survey, layout).Run();
  bootstrap.devices = std::move(survey.devices);
  bootstrap.skipped_xattrs = std::move(survey.skipped_xattrs);
  return bootstrap;
}

}  // namespace floe::erofs
