#include <sys/stat.h>

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "floe/index/v1/index.pb.h"
#include "image/extent_predictor.h"
#include "image/index_proto.h"

namespace floe::image {
namespace {

namespace pb = floe::index::v1;

uint64_t Add(uint64_t expected, int64_t difference) {
  return expected + static_cast<uint64_t>(difference);
}

Result<uint32_t> Narrow(uint64_t value, std::string_view what) {
  if (value > std::numeric_limits<uint32_t>::max()) {
    return DataLoss("index: {} {}", what, value);
  }
  return static_cast<uint32_t>(value);
}

Result<void> SameLength(std::string_view what, int length, std::initializer_list<int> others) {
  for (const int other : others) {
    if (other != length) {
      return DataLoss("index: columns of {} with {} and {} rows", what, length, other);
    }
  }
  return Ok();
}

Result<Digest> ReadDigest(const std::string& bytes, bool may_be_absent) {
  Sha256 value{};
  if (bytes.empty() && may_be_absent) {
    return Digest();
  }
  if (bytes.size() != value.size()) {
    return DataLoss("index: a digest of {} bytes", bytes.size());
  }
  std::copy(bytes.begin(), bytes.end(), value.begin());
  return Digest(value);
}

// One blob: units, groups, extents.
class BlobReader {
 public:
  BlobReader(const pb::Blob& from, uint32_t number, LayerIndexData& to)
      : from_(from), number_(number), to_(to) {}

  Result<void> Run(std::vector<ByteRange> device_ranges);

 private:
  Result<void> Head();
  Result<void> CheckColumns() const;
  Result<void> Units();
  Result<void> Groups();
  Result<void> Extents(std::vector<ByteRange> device_ranges);

  const pb::Blob& from_;
  const uint32_t number_;
  LayerIndexData& to_;
  SourceBlob blob_;
  // Where units and groups start in the decoded bytes of all units. Ascending.
  std::vector<uint64_t> unit_starts_, group_starts_;
};

Result<void> BlobReader::Head() {
  FLOE_ASSIGN_OR_RETURN(blob_.digest, ReadDigest(from_.digest(), false));
  FLOE_ASSIGN_OR_RETURN(blob_.windows_digest, ReadDigest(from_.windows_digest(), true));
  blob_.size_bytes = from_.size_bytes();
  blob_.media_type = from_.media_type();
  blob_.device_size_bytes = from_.device_size_bytes();
  blob_.windows_size_bytes = from_.windows_size_bytes();
  FLOE_ASSIGN_OR_RETURN(blob_.first_unit, Narrow(to_.units.size(), "units:"));
  FLOE_ASSIGN_OR_RETURN(blob_.first_group, Narrow(to_.groups.size(), "groups:"));
  FLOE_ASSIGN_OR_RETURN(blob_.first_extent, Narrow(to_.extents.size(), "extents:"));
  blob_.unit_count = static_cast<uint32_t>(from_.unit_length_size());
  blob_.group_count = static_cast<uint32_t>(from_.group_length_size());
  blob_.extent_count = static_cast<uint32_t>(from_.extent_length_size());
  return Ok();
}

Result<void> BlobReader::CheckColumns() const {
  FLOE_RETURN_IF_ERROR(SameLength(
      "units", from_.unit_length_size(),
      {from_.unit_gap_size(), from_.unit_decoded_length_size(), from_.unit_codec_bits_size(),
       from_.unit_window_length_size(), from_.unit_group_count_size()}));
  FLOE_RETURN_IF_ERROR(SameLength("groups", from_.group_length_size(), {from_.group_gap_size()}));
  if (from_.group_digest_kind_size() > 0) {
    FLOE_RETURN_IF_ERROR(
        SameLength("groups", from_.group_length_size(), {from_.group_digest_kind_size()}));
  }
  FLOE_RETURN_IF_ERROR(
      SameLength("extents", from_.extent_length_size(),
                 {from_.extent_device_offset_size(), from_.extent_position_size()}));
  if (from_.group_digest().size() != size_t{blob_.group_count} * sizeof(Sha256)) {
    return DataLoss("index: {} groups with {} bytes of digests", blob_.group_count,
                    from_.group_digest().size());
  }
  return Ok();
}

Result<void> BlobReader::Units() {
  uint64_t end = 0;
  uint64_t window_end = 0;
  uint64_t start = 0;
  for (int i = 0; i < from_.unit_length_size(); ++i) {
    const uint32_t codec_bits = from_.unit_codec_bits(i);
    Unit unit;
    unit.blob = number_;
    unit.codec = static_cast<Codec>(std::min<uint32_t>(codec_bits / kBitsPerCodec, 255));
    unit.bits = static_cast<uint8_t>(codec_bits % kBitsPerCodec);
    unit.range = {end + from_.unit_gap(i) - (unit.bits != 0 ? 1 : 0), from_.unit_length(i)};
    unit.decoded_length = from_.unit_decoded_length(i);
    const uint64_t most =
        IsStreamed(unit.codec, unit.decoded_length) ? kMaxDeviceBytes : kMaxUnitBytes;
    if (!unit.range.IsValid() || unit.decoded_length > most ||
        unit.decoded_length > UINT64_MAX - start ||
        from_.unit_window_length(i) > kMaxWindowFrameBytes) {
      return DataLoss("index: unit {} of blob {} is too large", i, number_);
    }
    if (from_.unit_window_length(i) != 0) {
      unit.window = {window_end, from_.unit_window_length(i)};
      window_end = unit.window.end();
    }
    end = unit.range.end();
    unit_starts_.push_back(start);
    start += unit.decoded_length;
    to_.units.push_back(unit);
  }
  return Ok();
}

Result<void> BlobReader::Groups() {
  int group_number = 0;
  const char* sha256 = from_.group_digest().data();
  for (uint32_t i = 0; i < blob_.unit_count; ++i) {
    const uint64_t unit_bytes = to_.units[blob_.first_unit + i].decoded_length;
    uint64_t end = 0;
    for (uint32_t n = from_.unit_group_count(static_cast<int>(i)); n > 0; --n) {
      if (group_number == from_.group_length_size()) {
        return DataLoss("index: unit {} of blob {} has more groups than there are", i, number_);
      }
      if (from_.group_gap(group_number) > unit_bytes - end) {
        return DataLoss("index: group {} of blob {} is past its unit", group_number, number_);
      }
      Group group;
      group.unit = blob_.first_unit + i;
      group.in_unit.offset = end + from_.group_gap(group_number);
      const uint64_t length = from_.group_length(group_number);
      const uint64_t rest = unit_bytes - group.in_unit.offset;
      group.in_unit.length = length == 0 ? rest : length;
      if (length > rest) {
        return DataLoss("index: group {} of blob {} is past its unit", group_number, number_);
      }
      std::copy_n(sha256 + static_cast<size_t>(group_number) * sizeof(Sha256), sizeof(Sha256),
                  group.digest.begin());
      if (from_.group_digest_kind_size() > 0) {
        group.digest_kind =
            static_cast<DigestKind>(std::min<uint32_t>(from_.group_digest_kind(group_number), 255));
      }
      end = group.in_unit.end();
      group_starts_.push_back(unit_starts_[i] + group.in_unit.offset);
      to_.groups.push_back(group);
      ++group_number;
    }
  }
  if (group_number != from_.group_length_size()) {
    return DataLoss("index: {} groups of blob {}, {} of them in units", from_.group_length_size(),
                    number_, group_number);
  }
  return Ok();
}

Result<void> BlobReader::Extents(std::vector<ByteRange> device_ranges) {
  ExtentPredictor predictor(std::move(device_ranges));
  for (int i = 0; i < from_.extent_length_size(); ++i) {
    Extent extent;
    extent.device_offset = Add(predictor.DeviceOffset(), from_.extent_device_offset(i));
    const uint64_t position =
        Add(predictor.Position(extent.device_offset), from_.extent_position(i));
    const auto after = std::upper_bound(group_starts_.begin(), group_starts_.end(), position);
    if (after == group_starts_.begin()) {
      return DataLoss("index: extent {} of blob {} is in no group", i, number_);
    }
    extent.group = blob_.first_group + static_cast<uint32_t>(after - group_starts_.begin()) - 1;
    extent.offset_in_group = position - *(after - 1);
    const uint64_t rest = to_.groups[extent.group].in_unit.length - extent.offset_in_group;
    extent.length = Add(predictor.Length(extent.device_offset, rest), from_.extent_length(i));
    predictor.Take(extent.device_offset, position, extent.length);
    to_.extents.push_back(extent);
  }
  return Ok();
}

Result<void> BlobReader::Run(std::vector<ByteRange> device_ranges) {
  FLOE_RETURN_IF_ERROR(Head());
  FLOE_RETURN_IF_ERROR(CheckColumns());
  FLOE_RETURN_IF_ERROR(Units());
  FLOE_RETURN_IF_ERROR(Groups());
  FLOE_RETURN_IF_ERROR(Extents(std::move(device_ranges)));
  to_.blobs.push_back(std::move(blob_));
  return Ok();
}

// The tree. Everything lies back to back, so that counts and lengths say where it is.
class TreeReader {
 public:
  TreeReader(const pb::LayerIndex& from, LayerIndexData& to)
      : from_(from), to_(to), device_ranges_(static_cast<size_t>(from.blobs_size())) {}

  /// The device ranges of the segments, by blob.
  Result<std::vector<std::vector<ByteRange>>> Run();

 private:
  Result<void> CheckColumns() const;
  Result<void> Inodes();
  Result<void> Dirents();
  Result<void> Segments();
  Result<void> Segments(Inode& inode);
  Result<void> Targets();
  Result<void> Xattrs();
  Result<StringRef> TakeString(uint64_t length);

  const pb::LayerIndex& from_;
  LayerIndexData& to_;
  std::vector<std::vector<ByteRange>> device_ranges_;
  uint32_t strings_taken_ = 0;
  Segment segment_;  // The previous one.
};

Result<void> TreeReader::CheckColumns() const {
  const pb::Inodes& inodes = from_.inodes();
  FLOE_RETURN_IF_ERROR(SameLength(
      "inodes", inodes.mode_size(),
      {inodes.uid_size(), inodes.gid_size(), inodes.flags_size(), inodes.mtime_delta_size(),
       inodes.mtime_nanoseconds_size(), inodes.size_bytes_size(), inodes.segment_count_size(),
       inodes.xattr_count_size(), inodes.dirent_count_size()}));
  FLOE_RETURN_IF_ERROR(SameLength("devices", inodes.device_inode_size(),
                                  {inodes.device_major_size(), inodes.device_minor_size()}));
  FLOE_RETURN_IF_ERROR(
      SameLength("dirents", from_.dirents().name_length_size(), {from_.dirents().inode_size()}));
  FLOE_RETURN_IF_ERROR(
      SameLength("segments", from_.segments().length_size(),
                 {from_.segments().file_offset_size(), from_.segments().blob_size(),
                  from_.segments().device_offset_size()}));
  FLOE_RETURN_IF_ERROR(SameLength("xattrs", from_.xattrs().name_length_size(),
                                  {from_.xattrs().value_length_size()}));
  if (static_cast<uint32_t>(inodes.mode_size()) > kMaxInodes ||
      static_cast<uint32_t>(from_.dirents().inode_size()) > kMaxInodes) {
    return DataLoss("index: {} inodes and {} dirents, at most {}", inodes.mode_size(),
                    from_.dirents().inode_size(), kMaxInodes);
  }
  return Ok();
}

Result<StringRef> TreeReader::TakeString(uint64_t length) {
  if (length > to_.strings.size() - strings_taken_) {
    return DataLoss("index: a string of {} bytes at {} of {}", length, strings_taken_,
                    to_.strings.size());
  }
  const StringRef ref{.offset = strings_taken_, .length = static_cast<uint32_t>(length)};
  strings_taken_ += ref.length;
  return ref;
}

Result<void> TreeReader::Inodes() {
  const pb::Inodes& from = from_.inodes();
  uint64_t mtime = 0;
  uint64_t segments = 0, xattrs = 0, dirents = 0;
  to_.inodes.reserve(static_cast<size_t>(from.mode_size()));
  for (int i = 0; i < from.mode_size(); ++i) {
    Inode inode;
    inode.mode = from.mode(i);
    inode.uid = from.uid(i);
    inode.gid = from.gid(i);
    inode.flags = static_cast<uint8_t>(std::min<uint32_t>(from.flags(i), 255));
    mtime = Add(mtime, from.mtime_delta(i));
    inode.mtime_seconds = static_cast<int64_t>(mtime);
    inode.mtime_nanoseconds = from.mtime_nanoseconds(i);
    inode.size_bytes = from.size_bytes(i);
    inode.segment_count = from.segment_count(i);
    inode.xattr_count = from.xattr_count(i);
    inode.dirent_count = from.dirent_count(i);
    FLOE_ASSIGN_OR_RETURN(inode.first_segment, Narrow(segments, "segments:"));
    FLOE_ASSIGN_OR_RETURN(inode.first_xattr, Narrow(xattrs, "xattrs:"));
    FLOE_ASSIGN_OR_RETURN(inode.first_dirent, Narrow(dirents, "dirents:"));
    segments += inode.segment_count;
    xattrs += inode.xattr_count;
    dirents += inode.dirent_count;
    to_.inodes.push_back(inode);
  }
  for (int i = 0; i < from.device_inode_size(); ++i) {
    if (from.device_inode(i) >= to_.inodes.size()) {
      return DataLoss("index: a device number of inode {}", from.device_inode(i));
    }
    to_.inodes[from.device_inode(i)].rdev_major = from.device_major(i);
    to_.inodes[from.device_inode(i)].rdev_minor = from.device_minor(i);
  }
  if (segments != static_cast<uint64_t>(from_.segments().length_size()) ||
      xattrs != static_cast<uint64_t>(from_.xattrs().name_length_size()) ||
      dirents != static_cast<uint64_t>(from_.dirents().inode_size())) {
    return DataLoss("index: segments, xattrs or dirents of no inode");
  }
  return Ok();
}

Result<void> TreeReader::Dirents() {
  const pb::Dirents& from = from_.dirents();
  uint64_t expected = 0;
  int whiteouts = 0;
  to_.dirents.reserve(static_cast<size_t>(from.inode_size()));
  for (int i = 0; i < from.inode_size(); ++i) {
    Dirent dirent;
    FLOE_ASSIGN_OR_RETURN(dirent.name, TakeString(from.name_length(i)));
    if (whiteouts < from.whiteout_size() && from.whiteout(whiteouts) == static_cast<uint32_t>(i)) {
      ++whiteouts;
      dirent.inode = kWhiteoutInode;
    } else {
      const uint64_t inode = Add(expected, from.inode(i));
      if (inode >= to_.inodes.size()) {
        return DataLoss("index: dirent {} is of inode {}", i, inode);
      }
      dirent.inode = static_cast<uint32_t>(inode);
      expected = inode + 1;
    }
    to_.dirents.push_back(dirent);
  }
  if (whiteouts != from.whiteout_size()) {
    return DataLoss("index: whiteout {} is no dirent", from.whiteout(whiteouts));
  }
  return Ok();
}

Result<void> TreeReader::Segments(Inode& inode) {
  const pb::Segments& from = from_.segments();
  uint64_t file_end = 0;
  for (uint32_t n = 0; n < inode.segment_count; ++n) {
    const auto i = static_cast<int>(inode.first_segment + n);
    Segment segment;
    segment.file_offset = Add(file_end, from.file_offset(i));
    segment.length = Add(inode.size_bytes - segment.file_offset, from.length(i));
    FLOE_ASSIGN_OR_RETURN(segment.blob,
                          Narrow(Add(segment_.blob, from.blob(i)), "a segment of blob"));
    if (segment.blob >= device_ranges_.size()) {
      return DataLoss("index: segment {} is of blob {}", i, segment.blob);
    }
    segment.device_offset =
        Add(AlignUp(segment_.device_offset + segment_.length, kBlockBytes), from.device_offset(i));
    file_end = segment.file_offset + segment.length;
    segment_ = segment;
    device_ranges_[segment.blob].push_back({segment.device_offset, segment.length});
    to_.segments.push_back(segment);
  }
  return Ok();
}

Result<void> TreeReader::Segments() {
  to_.segments.reserve(static_cast<size_t>(from_.segments().length_size()));
  for (Inode& inode : to_.inodes) {
    FLOE_RETURN_IF_ERROR(Segments(inode));
  }
  return Ok();
}

Result<void> TreeReader::Targets() {
  for (Inode& inode : to_.inodes) {
    if (S_ISLNK(inode.mode)) {
      FLOE_ASSIGN_OR_RETURN(inode.target, TakeString(inode.size_bytes));
    }
  }
  return Ok();
}

Result<void> TreeReader::Xattrs() {
  const pb::Xattrs& from = from_.xattrs();
  to_.xattrs.reserve(static_cast<size_t>(from.name_length_size()));
  for (int i = 0; i < from.name_length_size(); ++i) {
    Xattr xattr;
    FLOE_ASSIGN_OR_RETURN(xattr.name, TakeString(from.name_length(i)));
    FLOE_ASSIGN_OR_RETURN(xattr.value, TakeString(from.value_length(i)));
    to_.xattrs.push_back(xattr);
  }
  return Ok();
}

Result<std::vector<std::vector<ByteRange>>> TreeReader::Run() {
  FLOE_RETURN_IF_ERROR(CheckColumns());
  to_.strings = from_.strings();
  FLOE_RETURN_IF_ERROR(Inodes());
  FLOE_RETURN_IF_ERROR(Dirents());
  FLOE_RETURN_IF_ERROR(Segments());
  FLOE_RETURN_IF_ERROR(Targets());
  FLOE_RETURN_IF_ERROR(Xattrs());
  if (strings_taken_ != to_.strings.size()) {
    return DataLoss("index: {} bytes of strings, {} of them used", to_.strings.size(),
                    strings_taken_);
  }
  return std::move(device_ranges_);
}

}  // namespace

Result<LayerIndexData> IndexFromProto(const pb::LayerIndex& from) {
  if (from.version() != kIndexVersion) {
    return InvalidArgument("index of version {}, this program reads {}", from.version(),
                           kIndexVersion);
  }
  LayerIndexData data;
  data.producer = from.producer();
  FLOE_ASSIGN_OR_RETURN(data.diff_id, ReadDigest(from.diff_id(), true));
  FLOE_ASSIGN_OR_RETURN(auto device_ranges, TreeReader(from, data).Run());
  for (uint32_t i = 0; i < device_ranges.size(); ++i) {
    FLOE_RETURN_IF_ERROR(
        BlobReader(from.blobs(static_cast<int>(i)), i, data).Run(std::move(device_ranges[i])));
  }
  for (int i = 0; i < from.prefetch_first_unit_size() || i < from.prefetch_unit_count_size(); ++i) {
    FLOE_RETURN_IF_ERROR(
        SameLength("prefetch", from.prefetch_first_unit_size(), {from.prefetch_unit_count_size()}));
    data.prefetch.push_back({from.prefetch_first_unit(i), from.prefetch_unit_count(i)});
  }
  return data;
}

}  // namespace floe::image
