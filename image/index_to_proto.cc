#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "floe/index/v1/index.pb.h"
#include "image/extent_predictor.h"
#include "image/index_proto.h"

namespace floe::image {
namespace {

namespace pb = floe::index::v1;

int64_t Difference(uint64_t actual, uint64_t expected) {
  return static_cast<int64_t>(actual - expected);
}

std::string DigestBytes(const Digest& digest) {
  return digest.IsZero() ? std::string()
                         : std::string(digest.bytes().begin(), digest.bytes().end());
}

// One blob: units, groups, extents.
class BlobWriter {
 public:
  BlobWriter(const LayerIndex& index, const SourceBlob& blob, pb::Blob& to)
      : index_(index), blob_(blob), to_(to) {}

  void Run(std::vector<ByteRange> device_ranges) {
    Head();
    Units();
    Groups();
    Extents(std::move(device_ranges));
  }

 private:
  void Head();
  void Units();
  void Groups();
  void Extents(std::vector<ByteRange> device_ranges);

  const LayerIndex& index_;
  const SourceBlob& blob_;
  pb::Blob& to_;
  std::vector<uint64_t> unit_starts_;  // In the decoded bytes of all units.
};

void BlobWriter::Head() {
  to_.set_digest(DigestBytes(blob_.digest));
  to_.set_size_bytes(blob_.size_bytes);
  to_.set_media_type(blob_.media_type);
  to_.set_device_size_bytes(blob_.device_size_bytes);
  to_.set_windows_digest(DigestBytes(blob_.windows_digest));
  to_.set_windows_size_bytes(blob_.windows_size_bytes);
}

void BlobWriter::Units() {
  uint64_t end = 0;
  uint64_t start = 0;
  for (const Unit& unit : index_.units(blob_)) {
    to_.add_unit_gap(unit.range.offset + (unit.bits != 0 ? 1 : 0) - end);
    to_.add_unit_length(unit.range.length);
    to_.add_unit_decoded_length(unit.decoded_length);
    to_.add_unit_codec_bits(static_cast<uint32_t>(unit.codec) * kBitsPerCodec + unit.bits);
    to_.add_unit_window_length(unit.window.length);
    end = unit.range.end();
    unit_starts_.push_back(start);
    start += unit.decoded_length;
  }
}

void BlobWriter::Groups() {
  std::vector<uint32_t> counts(blob_.unit_count, 0);
  uint64_t unit = std::numeric_limits<uint64_t>::max();
  uint64_t end = 0;
  const bool has_other_kinds = std::ranges::any_of(index_.groups(blob_), [](const Group& group) {
    return group.digest_kind != DigestKind::kSha256;
  });
  for (const Group& group : index_.groups(blob_)) {
    end = group.unit == unit ? end : 0;
    unit = group.unit;
    ++counts[unit - blob_.first_unit];
    to_.add_group_gap(group.in_unit.offset - end);
    end = group.in_unit.end();
    const bool to_unit_end = end == index_.data().units[unit].decoded_length;
    to_.add_group_length(to_unit_end ? 0 : group.in_unit.length);
    to_.mutable_group_digest()->append(group.digest.begin(), group.digest.end());
    if (has_other_kinds) {
      to_.add_group_digest_kind(static_cast<uint32_t>(group.digest_kind));
    }
  }
  for (const uint32_t count : counts) {
    to_.add_unit_group_count(count);
  }
}

void BlobWriter::Extents(std::vector<ByteRange> device_ranges) {
  ExtentPredictor predictor(std::move(device_ranges));
  for (const Extent& extent : index_.extents(blob_)) {
    const Group& group = index_.data().groups[extent.group];
    const uint64_t position =
        unit_starts_[group.unit - blob_.first_unit] + group.in_unit.offset + extent.offset_in_group;
    const uint64_t rest = group.in_unit.length - extent.offset_in_group;
    to_.add_extent_device_offset(Difference(extent.device_offset, predictor.DeviceOffset()));
    to_.add_extent_position(Difference(position, predictor.Position(extent.device_offset)));
    to_.add_extent_length(Difference(extent.length, predictor.Length(extent.device_offset, rest)));
    predictor.Take(extent.device_offset, position, extent.length);
  }
}

// The tree. Arrays are written in inode order, whatever order they have in memory.
class TreeWriter {
 public:
  TreeWriter(const LayerIndex& index, pb::LayerIndex& to)
      : index_(index), to_(to), device_ranges_(index.data().blobs.size()) {}

  /// The device ranges of the segments, by blob.
  std::vector<std::vector<ByteRange>> Run();

 private:
  void AddInode(uint32_t number, const Inode& inode);
  void AddDirent(const Dirent& dirent);
  void AddSegments(const Inode& inode);
  void AddXattrs(const Inode& inode);
  void AddString(StringRef ref) { to_.mutable_strings()->append(index_.str(ref)); }

  const LayerIndex& index_;
  pb::LayerIndex& to_;
  std::vector<std::vector<ByteRange>> device_ranges_;
  int64_t mtime_ = 0;          // The previous inode's.
  uint64_t dirent_inode_ = 0;  // One more than the previous dirent's.
  Segment segment_;            // The previous one.
};

void TreeWriter::AddInode(uint32_t number, const Inode& inode) {
  pb::Inodes& to = *to_.mutable_inodes();
  to.add_mode(inode.mode);
  to.add_uid(inode.uid);
  to.add_gid(inode.gid);
  to.add_flags(inode.flags);
  to.add_mtime_delta(
      Difference(static_cast<uint64_t>(inode.mtime_seconds), static_cast<uint64_t>(mtime_)));
  mtime_ = inode.mtime_seconds;
  to.add_mtime_nanoseconds(inode.mtime_nanoseconds);
  to.add_size_bytes(inode.size_bytes);
  to.add_segment_count(inode.segment_count);
  to.add_xattr_count(inode.xattr_count);
  to.add_dirent_count(inode.dirent_count);
  if (inode.rdev_major != 0 || inode.rdev_minor != 0) {
    to.add_device_inode(number);
    to.add_device_major(inode.rdev_major);
    to.add_device_minor(inode.rdev_minor);
  }
}

void TreeWriter::AddDirent(const Dirent& dirent) {
  pb::Dirents& to = *to_.mutable_dirents();
  AddString(dirent.name);
  if (dirent.inode == kWhiteoutInode) {
    to.add_whiteout(static_cast<uint32_t>(to.name_length_size()));
    to.add_inode(0);
  } else {
    to.add_inode(Difference(dirent.inode, dirent_inode_));
    dirent_inode_ = uint64_t{dirent.inode} + 1;
  }
  to.add_name_length(dirent.name.length);
}

void TreeWriter::AddSegments(const Inode& inode) {
  pb::Segments& to = *to_.mutable_segments();
  uint64_t file_end = 0;
  for (const Segment& segment : index_.segments(inode)) {
    to.add_file_offset(Difference(segment.file_offset, file_end));
    to.add_length(Difference(segment.length, inode.size_bytes - segment.file_offset));
    to.add_blob(Difference(segment.blob, segment_.blob));
    to.add_device_offset(Difference(
        segment.device_offset, AlignUp(segment_.device_offset + segment_.length, kBlockBytes)));
    file_end = segment.file_offset + segment.length;
    segment_ = segment;
    device_ranges_[segment.blob].push_back({segment.device_offset, segment.length});
  }
}

void TreeWriter::AddXattrs(const Inode& inode) {
  pb::Xattrs& to = *to_.mutable_xattrs();
  for (const Xattr& xattr : index_.xattrs(inode)) {
    AddString(xattr.name);
    AddString(xattr.value);
    to.add_name_length(xattr.name.length);
    to.add_value_length(xattr.value.length);
  }
}

std::vector<std::vector<ByteRange>> TreeWriter::Run() {
  const std::vector<Inode>& inodes = index_.data().inodes;
  for (uint32_t i = 0; i < inodes.size(); ++i) {
    AddInode(i, inodes[i]);
    AddSegments(inodes[i]);
    for (const Dirent& dirent : index_.children(inodes[i])) {
      AddDirent(dirent);
    }
  }
  for (const Inode& inode : inodes) {
    if (S_ISLNK(inode.mode)) {
      AddString(inode.target);
    }
  }
  for (const Inode& inode : inodes) {
    AddXattrs(inode);
  }
  return std::move(device_ranges_);
}

// Strings that share bytes in memory are written apart, so check before they are collected.
Result<void> CheckStrings(const LayerIndex& index) {
  uint64_t bytes = 0;
  for (const Inode& inode : index.data().inodes) {
    bytes += inode.target.length;
    for (const Xattr& xattr : index.xattrs(inode)) {
      bytes += uint64_t{xattr.name.length} + xattr.value.length;
    }
  }
  for (const Dirent& dirent : index.data().dirents) {
    bytes += dirent.name.length;
  }
  if (bytes > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) {
    return ResourceExhausted("index: {} bytes of names, targets and xattrs", bytes);
  }
  return Ok();
}

}  // namespace

Result<void> IndexToProto(const LayerIndex& index, pb::LayerIndex& to) {
  FLOE_RETURN_IF_ERROR(CheckStrings(index));
  const LayerIndexData& data = index.data();
  to.set_version(kIndexVersion);
  to.set_producer(data.producer);
  to.set_diff_id(DigestBytes(data.diff_id));
  std::vector<std::vector<ByteRange>> device_ranges = TreeWriter(index, to).Run();
  for (size_t i = 0; i < data.blobs.size(); ++i) {
    BlobWriter(index, data.blobs[i], *to.add_blobs()).Run(std::move(device_ranges[i]));
  }
  for (const PrefetchRun& run : data.prefetch) {
    to.add_prefetch_first_unit(run.first_unit);
    to.add_prefetch_unit_count(run.unit_count);
  }
  return Ok();
}

}  // namespace floe::image
