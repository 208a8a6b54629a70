#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_range.h"
#include "base/digest.h"
#include "base/result.h"

/// The one in-memory model of a layer, whatever format it came in: a tree, and for each source blob
/// the units that are fetched, the groups that are verified and the extents that the kernel sees.
/// docs/overview.md explains the words; docs/formats.md the serialised form.
namespace floe::image {

/// A string in LayerIndexData::strings. Names, link targets and xattr values may hold any bytes.
struct StringRef {
  uint32_t offset = 0;
  uint32_t length = 0;
};

/// How the compressed bytes of a unit become its decoded output.
enum class Codec : uint8_t {
  kPlain = 0,     ///< As they are; decoded length == range length.
  kGzip = 1,      ///< Starts at a gzip member's header (RFC 1952); may run over several members.
  kDeflate = 2,   ///< Starts inside a deflate stream (RFC 1951) at a checkpoint: `bits` and window.
                  ///< May run into following gzip members (trailer, header, deflate).
  kZstd = 3,      ///< Starts at a zstd frame (RFC 8878); may run over several frames.
  kLz4Block = 4,  ///< One raw LZ4 block; as RAFS has it (docs/formats.md).
};

/// What a group's digest is of. Values are those of the serialised forms.
enum class DigestKind : uint8_t {
  kSha256 = 0,            ///< sha256 of the group's decoded bytes.
  kBlake3 = 1,            ///< BLAKE3 (32 bytes) of the group's decoded bytes.
  kCompressedSha256 = 2,  ///< sha256 of exactly the compressed bytes of the unit (SOCI's spans).
  kNone = 3,              ///< Nothing vouches for it: only where `allow_unverified` lets it.
};

/// What is fetched and decoded at once. Units of a blob are sorted by range.offset. Neighbours may
/// share bytes: one where a deflate checkpoint is not byte aligned, more where a RAFS context ends
/// behind the start of the next one.
struct Unit {
  uint32_t blob = 0;
  ByteRange range;              ///< Of the blob: exactly the bytes to fetch.
  uint64_t decoded_length = 0;  ///< Bytes; at most kMaxUnitBytes, unless it is streamed (below).
  Codec codec = Codec::kPlain;
  /// kDeflate: how many of the most significant bits of the first byte belong to this unit (1..7);
  /// 0: the unit starts on a whole byte.
  uint8_t bits = 0;
  /// kDeflate: the unit's window in the blob's windows part: one zstd frame that decodes to
  /// at most 32768 bytes, the output that precedes the unit (bytes not referred to are zero).
  /// Empty: no window is needed.
  ByteRange window;
};

/// What is verified and becomes present at once.
struct Group {
  uint32_t unit = 0;
  ByteRange in_unit;  ///< Of the unit's decoded output.
  DigestKind digest_kind = DigestKind::kSha256;
  Sha256 digest{};  ///< 32 bytes, of the kind; zeros for kNone.
};

/// Which bytes of a device a group provides. Extents of a blob are sorted by device_offset and do
/// not overlap; device bytes that no extent covers are zero and always present.
struct Extent {
  uint64_t device_offset = 0;
  uint64_t length = 0;
  uint32_t group = 0;
  uint64_t offset_in_group = 0;
};

/// A registry object that the layer draws from, and its device: the uncompressed address space
/// that the kernel sees (file contents in archive order, each file on a 4096-byte boundary).
struct SourceBlob {
  Digest digest;
  uint64_t size_bytes = 0;
  std::string media_type;
  uint64_t device_size_bytes = 0;  ///< A multiple of 4096; 0 when nothing of it is visible.
  /// The inflate windows (only for units with kDeflate): an object of its own beside the tree.
  Digest windows_digest;  ///< Zero: there is none.
  uint64_t windows_size_bytes = 0;
  /// [first, first + count) in the arrays of LayerIndexData.
  uint32_t first_unit = 0, unit_count = 0;
  uint32_t first_group = 0, group_count = 0;
  uint32_t first_extent = 0, extent_count = 0;
};

/// A contiguous piece of a regular file. Segments of an inode are sorted and do not overlap; gaps
/// are holes. file_offset and device_offset are multiples of 4096. A file without holes in one blob
/// has one.
struct Segment {
  uint64_t file_offset = 0;
  uint64_t length = 0;  ///< Bytes; only the file's last segment may end inside a block.
  uint32_t blob = 0;
  uint64_t device_offset = 0;
};

/// Units to fetch ahead of any demand once the layer is mounted, the most urgent first.
struct PrefetchRun {
  uint32_t first_unit = 0;  ///< Into LayerIndexData::units.
  uint32_t unit_count = 0;
};

struct Xattr {
  StringRef name;  ///< Full name: "user.foo", "security.capability".
  StringRef value;
};

/// Directory flags.
inline constexpr uint8_t kInodeImplied = 1;  ///< The archive does not hold it: never overrides.
inline constexpr uint8_t kInodeOpaque = 2;   ///< Hides what lower layers have in it.

struct Inode {
  uint32_t mode = 0;  ///< S_IFMT and permission bits, as stat(2).
  uint32_t uid = 0, gid = 0;
  uint32_t rdev_major = 0, rdev_minor = 0;  ///< Character and block devices.
  uint8_t flags = 0;
  int64_t mtime_seconds = 0;
  uint32_t mtime_nanoseconds = 0;
  uint64_t size_bytes = 0;  ///< Regular files; symlinks: length of the target; else 0.
  StringRef target;         ///< Symlinks.
  uint32_t first_segment = 0, segment_count = 0;  ///< Regular files.
  uint32_t first_xattr = 0, xattr_count = 0;      ///< Sorted by name, unique.
  uint32_t first_dirent = 0, dirent_count = 0;    ///< Directories.
};

/// Dirent::inode of a whiteout: the name is removed from the lower layers.
inline constexpr uint32_t kWhiteoutInode = UINT32_MAX;

/// One name in a directory. Dirents of a directory are contiguous, sorted by unsigned bytes,
/// unique. Non-directories may be reached by several names (hard links); directories by exactly
/// one.
struct Dirent {
  StringRef name;
  uint32_t inode = 0;
};

// Limits that a valid index keeps; what exceeds them is refused by LayerIndex::Create.
inline constexpr uint64_t kMaxUnitBytes = 64ULL << 20U;            ///< Decoded bytes of one unit.
inline constexpr uint64_t kMaxUnitRangeBytes = 2 * kMaxUnitBytes;  ///< Compressed bytes of it.
/// A group of a streamed unit: what a fill holds of it.
inline constexpr uint64_t kMaxSliceBytes = 16ULL << 20U;
inline constexpr uint64_t kMaxWindowFrameBytes = 64U << 10U;  ///< One unit's window.
inline constexpr uint64_t kMaxDeviceBytes = 8ULL << 40U;      ///< Of one blob.
inline constexpr uint64_t kMaxFileBytes = 8ULL << 40U;
inline constexpr uint32_t kMaxInodes = 16U << 20U;  ///< Of one layer; dirents as well.
inline constexpr uint32_t kMaxTreeDepth = 4096;
inline constexpr uint32_t kMaxNameBytes = 255;
inline constexpr uint32_t kMaxTargetBytes = 4095;  ///< Symlink target.
inline constexpr uint32_t kMaxXattrValueBytes = 64U << 10U;

/// A *streamed* unit: too large to be held as a whole. It is one zstd frame, fetched part by part,
/// and each of its groups (*slices*) becomes visible as soon as it is decoded. Its limits are
/// kMaxDeviceBytes decoded, the blob's size compressed, and kMaxSliceBytes for a group.
[[nodiscard]] constexpr bool IsStreamed(Codec codec, uint64_t decoded_length) {
  return codec == Codec::kZstd && decoded_length > kMaxUnitBytes;
}

/// The plain data. inodes[0] is the root directory.
struct LayerIndexData {
  std::vector<SourceBlob> blobs;
  std::vector<Unit> units;
  std::vector<Group> groups;
  std::vector<Extent> extents;
  std::vector<Inode> inodes;
  std::vector<Dirent> dirents;
  std::vector<Segment> segments;
  std::vector<Xattr> xattrs;
  std::vector<PrefetchRun> prefetch;  ///< May be empty; a run lies within one blob.
  std::string strings;
  Digest diff_id;        ///< Of the uncompressed archive; zero when the source has none.
  std::string producer;  ///< What made it ("floe 0.1.0 tar+gzip"); for `floe index show`.
};

/// A validated LayerIndexData. Immutable; share it by shared_ptr<const LayerIndex>; any thread.
class LayerIndex {
 public:
  /// Checks every offset, length, count, order and limit; DataLoss (with what and where) for data
  /// that lies. After success all refs, ranges and indexes in data() can be used unchecked:
  ///  - strings, dirents, segments, xattrs, units, groups and extents lie inside their arrays;
  ///  - every directory is reached exactly once from the root, no cycles, depth <= kMaxTreeDepth;
  ///  - names are 1..255 bytes, without '/' and NUL, not "." or "..";
  ///  - units lie inside their blob, groups inside their unit, extents inside their group and
  ///  device;
  ///  - every device byte that a segment maps and that is not a hole lies inside the device.
  static Result<LayerIndex> Create(LayerIndexData data);

  [[nodiscard]] const LayerIndexData& data() const { return data_; }
  [[nodiscard]] const Inode& root() const { return data_.inodes.front(); }
  [[nodiscard]] std::string_view str(StringRef ref) const {
    return std::string_view(data_.strings).substr(ref.offset, ref.length);
  }
  [[nodiscard]] std::span<const Dirent> children(const Inode& directory) const {
    return std::span(data_.dirents).subspan(directory.first_dirent, directory.dirent_count);
  }
  [[nodiscard]] std::span<const Segment> segments(const Inode& file) const {
    return std::span(data_.segments).subspan(file.first_segment, file.segment_count);
  }
  [[nodiscard]] std::span<const Xattr> xattrs(const Inode& inode) const {
    return std::span(data_.xattrs).subspan(inode.first_xattr, inode.xattr_count);
  }
  [[nodiscard]] std::span<const Unit> units(const SourceBlob& blob) const {
    return std::span(data_.units).subspan(blob.first_unit, blob.unit_count);
  }
  [[nodiscard]] std::span<const Group> groups(const SourceBlob& blob) const {
    return std::span(data_.groups).subspan(blob.first_group, blob.group_count);
  }
  [[nodiscard]] std::span<const Extent> extents(const SourceBlob& blob) const {
    return std::span(data_.extents).subspan(blob.first_extent, blob.extent_count);
  }

 private:
  explicit LayerIndex(LayerIndexData data) : data_(std::move(data)) {}
  LayerIndexData data_;
};

/// Where an index came from, which decides whether `index.trust` accepts it (docs/trust.md).
enum class IndexOrigin : uint8_t {
  kLocal,       ///< This node computed it from the whole, verified layer.
  kBound,       ///< Covered by the image's own digest.
  kRepository,  ///< Found as a referrer: whoever may push to the repository can write one.
};

}  // namespace floe::image
