#include "erofs/native_tree.h"

#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "base/quote.h"
#include "erofs/claimed_ranges.h"
#include "erofs/native_reader.h"

namespace floe::erofs {
namespace {

using image::LayerTree;

constexpr std::string_view kOverlayPrefix = "trusted.overlay.";

bool IsWhiteout(const NativeInode& inode) {
  return S_ISCHR(inode.mode) && inode.rdev_major == 0 && inode.rdev_minor == 0;
}

image::Inode MetadataOf(const NativeInode& inode) {
  image::Inode metadata;
  metadata.mode = inode.mode;
  metadata.uid = inode.uid;
  metadata.gid = inode.gid;
  metadata.rdev_major = inode.rdev_major;
  metadata.rdev_minor = inode.rdev_minor;
  metadata.mtime_seconds = inode.mtime_seconds;
  metadata.mtime_nanoseconds = inode.mtime_nanoseconds;
  metadata.size_bytes = S_ISDIR(inode.mode) ? 0 : inode.size_bytes;
  return metadata;
}

/// What overlayfs would do for the attribute `name` (without its prefix): the flags of the inode.
Result<uint8_t> ApplyOverlayXattr(std::string_view name, std::string_view value) {
  if (name == "redirect" || name == "metacopy" || name == "whiteout" || name == "whiteouts" ||
      (name == "opaque" && value == "x")) {
    return Unimplemented("{}{} = {} is not supported", kOverlayPrefix, name, Quote(value));
  }
  return uint8_t{name == "opaque" && value == "y" ? image::kInodeOpaque : uint8_t{0}};
}

class TreeReader {
 public:
  TreeReader(const NativeReader& reader, uint64_t image_bytes, const NativeTreeLimits& limits)
      : reader_(reader), image_bytes_(image_bytes), limits_(limits) {}

  Result<NativeTree> Run();

 private:
  using NodeId = LayerTree::NodeId;

  struct Directory {
    NativeInode inode;
    uint64_t parent_nid = 0;
    NodeId node = LayerTree::kRoot;
    size_t parent = 0;  ///< In directories_; for paths.
    std::string name;
  };
  /// An inode that is no directory; becomes a node when all of them are known.
  struct Leaf {
    LayerTree::Node node;
    uint8_t file_type = 0;
    uint64_t data_offset = 0;  ///< In the image, of the first byte; 0 without data.
    NodeId id = kNoNode;
  };
  struct LeafName {
    size_t directory = 0;
    std::string name;
    size_t leaf = 0;
  };
  static constexpr NodeId kNoNode = std::numeric_limits<NodeId>::max();
  /// In leaf_of_nid_, for what is none.
  static constexpr size_t kDirectory = std::numeric_limits<size_t>::max();
  static constexpr size_t kWhiteout = kDirectory - 1;

  Result<void> EnterRoot();
  Result<void> ReadDirectory(size_t number);
  Result<void> OnDirent(size_t number, NativeDirent dirent);
  Result<void> CheckDots(const Directory& directory, const NativeDirent& dirent) const;
  Result<void> AddKnown(size_t number, NativeDirent dirent, size_t leaf);
  Result<void> AddNew(size_t number, NativeDirent dirent);
  Result<void> AddDirectory(size_t number, NativeDirent dirent, const NativeInode& inode);
  Result<void> AddLeaf(size_t number, NativeDirent dirent, const NativeInode& inode);
  Result<void> AddName(size_t number, std::string name, size_t leaf);
  Result<void> ReadData(const NativeInode& inode, Leaf& leaf);
  [[nodiscard]] Result<void> CheckFileBytes() const;
  Result<void> FillNode(const NativeInode& inode, LayerTree::Node& node);
  Result<void> Claim(const NativeInode& inode);
  Result<void> CreateLeaves();
  Result<void> CreateLeaf(LeafName& name);
  [[nodiscard]] std::string PathOf(size_t directory, std::string_view name) const;
  [[nodiscard]] Error At(Error error, size_t directory, std::string_view name) const {
    return WithContext(std::move(error), Quote(PathOf(directory, name)));
  }

  const NativeReader& reader_;
  const uint64_t image_bytes_;
  const NativeTreeLimits limits_;
  NativeTree result_;
  ClaimedRanges claimed_;
  std::vector<Directory> directories_;  ///< Breadth first.
  std::vector<Leaf> leaves_;
  std::vector<LeafName> names_;
  std::unordered_map<uint64_t, size_t> leaf_of_nid_;
  uint64_t file_bytes_ = 0;
  uint64_t xattr_bytes_ = 0;
};

Result<NativeTree> TreeReader::Run() {
  const uint64_t super_bytes = sizeof(SuperBlock) + reader_.super().extension_slots * uint64_t{16};
  claimed_.Claim({.offset = kSuperOffset, .length = super_bytes});
  FLOE_RETURN_IF_ERROR(EnterRoot());
  for (size_t i = 0; i < directories_.size(); ++i) {
    FLOE_RETURN_IF_ERROR(ReadDirectory(i));
  }
  FLOE_RETURN_IF_ERROR(CreateLeaves());
  return std::move(result_);
}

Result<void> TreeReader::EnterRoot() {
  FLOE_ASSIGN_OR_RETURN(const NativeInode root, reader_.ReadInode(reader_.root_nid()));
  if (!S_ISDIR(root.mode)) {
    return DataLoss("the root is no directory");
  }
  FLOE_RETURN_IF_ERROR(Claim(root));
  FLOE_RETURN_IF_ERROR(FillNode(root, result_.tree.node(LayerTree::kRoot)));
  leaf_of_nid_.emplace(root.nid, kDirectory);
  directories_.push_back({.inode = root, .parent_nid = root.nid, .name = {}});
  return Ok();
}

Result<void> TreeReader::ReadDirectory(size_t number) {
  const NativeInode inode = directories_[number].inode;
  std::vector<NativeDirent> dirents;
  std::string last;
  size_t dots = 0;
  for (uint64_t block = 0; block < reader_.DirectoryBlocks(inode); ++block) {
    if (auto read = reader_.ReadDirectoryBlock(inode, block, dirents); !read) {
      return At(std::move(read).error(), number, "");
    }
    if (block > 0 && dirents.front().name <= last) {
      return At(DataLoss("block {} is out of order", block), number, "");
    }
    last = dirents.back().name;
    for (NativeDirent& dirent : dirents) {
      dots += dirent.name == "." || dirent.name == ".." ? 1 : 0;
      FLOE_RETURN_IF_ERROR(OnDirent(number, std::move(dirent)));
    }
  }
  return dots == 2 ? Ok() : Result<void>(At(DataLoss("it lacks . or .."), number, ""));
}

Result<void> TreeReader::OnDirent(size_t number, NativeDirent dirent) {
  const std::string name = dirent.name;
  const auto add = [&]() -> Result<void> {
    if (name == "." || name == "..") {
      return CheckDots(directories_[number], dirent);
    }
    if (const auto known = leaf_of_nid_.find(dirent.nid); known != leaf_of_nid_.end()) {
      return AddKnown(number, std::move(dirent), known->second);
    }
    return AddNew(number, std::move(dirent));
  };
  if (auto added = add(); !added) {
    return At(std::move(added).error(), number, name);
  }
  return Ok();
}

Result<void> TreeReader::CheckDots(const Directory& directory, const NativeDirent& dirent) const {
  const uint64_t expected = dirent.name == "." ? directory.inode.nid : directory.parent_nid;
  if (dirent.nid != expected || dirent.file_type != FileTypeOfMode(S_IFDIR)) {
    return DataLoss("it is inode {} of type {}, not the directory {}", dirent.nid, dirent.file_type,
                    expected);
  }
  return Ok();
}

Result<void> TreeReader::AddKnown(size_t number, NativeDirent dirent, size_t leaf) {
  if (leaf == kDirectory) {
    return DataLoss("directory {} is reached twice", dirent.nid);
  }
  const uint8_t type = leaf == kWhiteout ? FileTypeOfMode(S_IFCHR) : leaves_[leaf].file_type;
  if (dirent.file_type != type) {
    return DataLoss("inode {} is of type {}, not {}", dirent.nid, type, dirent.file_type);
  }
  return AddName(number, std::move(dirent.name), leaf);
}

Result<void> TreeReader::AddNew(size_t number, NativeDirent dirent) {
  FLOE_ASSIGN_OR_RETURN(const NativeInode inode, reader_.ReadInode(dirent.nid));
  if (dirent.file_type != FileTypeOfMode(inode.mode)) {
    return DataLoss("inode {} has mode {:o}, its name says type {}", dirent.nid, inode.mode,
                    dirent.file_type);
  }
  FLOE_RETURN_IF_ERROR(Claim(inode));
  if (S_ISDIR(inode.mode)) {
    return AddDirectory(number, std::move(dirent), inode);
  }
  if (IsWhiteout(inode)) {
    leaf_of_nid_.emplace(inode.nid, kWhiteout);
    return AddName(number, std::move(dirent.name), kWhiteout);
  }
  return AddLeaf(number, std::move(dirent), inode);
}

Result<void> TreeReader::AddDirectory(size_t number, NativeDirent dirent,
                                      const NativeInode& inode) {
  const Directory& parent = directories_[number];
  FLOE_ASSIGN_OR_RETURN(const NodeId node,
                        result_.tree.Create({parent.node, dirent.name}, inode.mode));
  FLOE_RETURN_IF_ERROR(FillNode(inode, result_.tree.node(node)));
  leaf_of_nid_.emplace(inode.nid, kDirectory);
  directories_.push_back({.inode = inode,
                          .parent_nid = parent.inode.nid,
                          .node = node,
                          .parent = number,
                          .name = std::move(dirent.name)});
  return Ok();
}

Result<void> TreeReader::AddLeaf(size_t number, NativeDirent dirent, const NativeInode& inode) {
  Leaf leaf;
  leaf.file_type = dirent.file_type;
  FLOE_RETURN_IF_ERROR(FillNode(inode, leaf.node));
  FLOE_RETURN_IF_ERROR(ReadData(inode, leaf));
  leaf_of_nid_.emplace(inode.nid, leaves_.size());
  leaves_.push_back(std::move(leaf));
  return AddName(number, std::move(dirent.name), leaves_.size() - 1);
}

Result<void> TreeReader::AddName(size_t number, std::string name, size_t leaf) {
  if (names_.size() >= image::kMaxInodes) {
    return InvalidArgument("more than {} entries", image::kMaxInodes);
  }
  names_.push_back({.directory = number, .name = std::move(name), .leaf = leaf});
  return Ok();
}

Result<void> TreeReader::ReadData(const NativeInode& inode, Leaf& leaf) {
  if (S_ISLNK(inode.mode)) {
    FLOE_ASSIGN_OR_RETURN(leaf.node.target, reader_.ReadSymlink(inode));
  }
  if (!S_ISREG(inode.mode)) {
    return Ok();
  }
  std::vector<image::TarFragment>& fragments = result_.fragments;
  const size_t first = fragments.size();
  FLOE_RETURN_IF_ERROR(reader_.AppendPieces(inode, limits_.max_pieces, fragments));
  for (size_t i = first; i < fragments.size(); ++i) {
    file_bytes_ += fragments[i].length;  // Each is at most the image's size: no overflow.
    FLOE_RETURN_IF_ERROR(CheckFileBytes());
  }
  leaf.data_offset = first == fragments.size() ? 0 : fragments[first].archive_offset;
  leaf.node.first_fragment = static_cast<uint32_t>(first);
  leaf.node.fragment_count = static_cast<uint32_t>(fragments.size() - first);
  return Ok();
}

Result<void> TreeReader::CheckFileBytes() const {
  if (file_bytes_ > limits_.max_file_bytes) {
    return InvalidArgument("files of more than {} bytes", limits_.max_file_bytes);
  }
  if (file_bytes_ > limits_.ratio_free_bytes && file_bytes_ / limits_.max_ratio > image_bytes_) {
    return InvalidArgument("files of more than {} times the image", limits_.max_ratio);
  }
  return Ok();
}

Result<void> TreeReader::FillNode(const NativeInode& inode, LayerTree::Node& node) {
  node.inode = MetadataOf(inode);
  FLOE_ASSIGN_OR_RETURN(NativeXattrs xattrs, reader_.ReadXattrs(inode));
  for (auto& [name, value] : xattrs) {
    if (name.starts_with(kOverlayPrefix)) {
      FLOE_ASSIGN_OR_RETURN(
          const uint8_t flags,
          ApplyOverlayXattr(std::string_view(name).substr(kOverlayPrefix.size()), value));
      node.inode.flags |= S_ISDIR(inode.mode) ? flags : uint8_t{0};
      continue;
    }
    xattr_bytes_ += name.size() + value.size();
    if (xattr_bytes_ > limits_.max_xattr_bytes) {
      return InvalidArgument("more than {} bytes of xattrs", limits_.max_xattr_bytes);
    }
    node.xattrs.emplace(std::move(name), std::move(value));
  }
  return Ok();
}

Result<void> TreeReader::Claim(const NativeInode& inode) {
  if (!claimed_.Claim(reader_.HeadOf(inode)) || !claimed_.Claim(reader_.BlocksOf(inode))) {
    return DataLoss("inode {} or its blocks lie where other metadata does", inode.nid);
  }
  return Ok();
}

// In the order of the data, so that the device has the files as the image has them.
Result<void> TreeReader::CreateLeaves() {
  const auto key = [&](const LeafName& name) {
    const uint64_t offset = name.leaf == kWhiteout ? 0 : leaves_[name.leaf].data_offset;
    return std::make_tuple(offset, name.leaf, name.directory, std::string_view(name.name));
  };
  std::sort(names_.begin(), names_.end(),
            [&](const LeafName& a, const LeafName& b) { return key(a) < key(b); });
  for (LeafName& name : names_) {
    if (auto created = CreateLeaf(name); !created) {
      return At(std::move(created).error(), name.directory, name.name);
    }
  }
  return Ok();
}

Result<void> TreeReader::CreateLeaf(LeafName& name) {
  LayerTree& tree = result_.tree;
  const LayerTree::Place place{directories_[name.directory].node, name.name};
  if (name.leaf == kWhiteout) {
    return tree.Link(place, LayerTree::kWhiteout);
  }
  Leaf& leaf = leaves_[name.leaf];
  if (leaf.id != kNoNode) {
    return tree.Link(place, leaf.id);
  }
  FLOE_ASSIGN_OR_RETURN(leaf.id, tree.Create(place, leaf.node.inode.mode));
  leaf.node.links = tree.node(leaf.id).links;
  tree.node(leaf.id) = std::move(leaf.node);
  return Ok();
}

std::string TreeReader::PathOf(size_t directory, std::string_view name) const {
  std::vector<std::string_view> parts = {name};
  for (size_t at = directory; at != 0; at = directories_[at].parent) {
    parts.push_back(directories_[at].name);
  }
  std::string path;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    path.append("/").append(*part);
  }
  return path;
}

}  // namespace

Result<NativeTree> ReadNativeTree(ImageBytes& image, const NativeTreeLimits& limits) {
  FLOE_ASSIGN_OR_RETURN(const NativeReader reader, NativeReader::Open(image));
  return TreeReader(reader, image.size_bytes(), limits).Run();
}

}  // namespace floe::erofs
