#include "image/blob_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/file.h"
#include "image/layer_index_validation.h"
#include "image/little_endian.h"

namespace floe::image {
namespace {

// docs/formats.md has the layout; these are its offsets.
constexpr std::string_view kMagic = "FLOEBMAP";
// 2: some group's digest is not a sha256 of decoded bytes, a codec is newer than zstd, or a unit is
// streamed. What needs none of it is written as version 1, so that its key stays what it always
// was.
constexpr uint32_t kVersion = 1, kExtendedVersion = 2;

namespace header {
constexpr size_t kVersionAt = 8, kBytesAt = 12, kBlobDigest = 16, kBlobSize = 48, kDeviceSize = 56,
                 kWindowsDigest = 64, kWindowsSize = 96, kUnitCount = 104, kGroupCount = 108,
                 kExtentCount = 112, kReserved = 116, kUnitsAt = 120, kGroupsAt = 128,
                 kExtentsAt = 136, kGroupExtentsAt = 144, kFileBytes = 152, kBytes = 160;
}  // namespace header

namespace unit_record {
constexpr size_t kRangeOffset = 0, kRangeLength = 8, kDecodedLength = 16, kWindowOffset = 24,
                 kWindowLength = 32, kCodec = 36, kBits = 37, kFirstGroup = 40, kGroupCount = 44,
                 kBytes = 48;
}  // namespace unit_record

namespace group_record {
constexpr size_t kOffset = 0, kLength = 8, kDigest = 16, kUnit = 48, kFirstExtentRef = 52,
                 kExtentCount = 56, kDigestKind = 60, kBytes = 64;
}  // namespace group_record

namespace extent_record {
constexpr size_t kDeviceOffset = 0, kLength = 8, kOffsetInGroup = 16, kGroup = 24, kBytes = 32;
}  // namespace extent_record

constexpr size_t kRefBytes = sizeof(uint32_t);
constexpr uint64_t kAlignment = 8;

// Where the four tables lie: back to back after the header. The counts have 32 bits, so that no sum
// overflows.
struct Layout {
  uint64_t units_at, groups_at, extents_at, group_extents_at, file_bytes;

  Layout(uint64_t units, uint64_t groups, uint64_t extents)
      : units_at(header::kBytes),
        groups_at(units_at + units * unit_record::kBytes),
        extents_at(groups_at + groups * group_record::kBytes),
        group_extents_at(extents_at + extents * extent_record::kBytes),
        file_bytes(AlignUp(group_extents_at + extents * kRefBytes, kAlignment)) {}
};

void AppendDigest(std::string& to, const Sha256& bytes) {
  to.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Sha256 LoadSha256(const std::byte* at) {
  Sha256 bytes{};
  std::memcpy(bytes.data(), at, bytes.size());
  return bytes;
}

uint64_t Load64(const std::byte* at) { return LoadLittleEndian<uint64_t>(at); }
uint32_t Load32(const std::byte* at) { return LoadLittleEndian<uint32_t>(at); }

// Writes the map of one blob of a valid index; all numbers in it count from the blob's first.
class Encoder {
 public:
  Encoder(const LayerIndex& index, const SourceBlob& blob)
      : blob_(blob),
        units_(index.units(blob)),
        groups_(index.groups(blob)),
        extents_(index.extents(blob)) {}

  std::string Run();

 private:
  /// Something in it is newer than version 1.
  [[nodiscard]] bool IsExtended() const;
  void Header(const Layout& layout);
  void Units();
  void Groups();
  void Extents();
  void GroupExtents();
  template <typename T>
  void Put(T value) {
    AppendLittleEndian(out_, value);
  }

  const SourceBlob& blob_;
  std::span<const Unit> units_;
  std::span<const Group> groups_;
  std::span<const Extent> extents_;
  std::vector<uint32_t> extents_of_group_;  // How many.
  std::string out_;
};

bool Encoder::IsExtended() const {
  return std::ranges::any_of(units_,
                             [](const Unit& unit) {
                               return unit.codec > Codec::kZstd ||
                                      IsStreamed(unit.codec, unit.decoded_length);
                             }) ||
         std::ranges::any_of(
             groups_, [](const Group& group) { return group.digest_kind != DigestKind::kSha256; });
}

void Encoder::Header(const Layout& layout) {
  out_.append(kMagic);
  Put(IsExtended() ? kExtendedVersion : kVersion);
  Put(static_cast<uint32_t>(header::kBytes));
  AppendDigest(out_, blob_.digest.bytes());
  Put(blob_.size_bytes);
  Put(blob_.device_size_bytes);
  AppendDigest(out_, blob_.windows_digest.bytes());
  Put(blob_.windows_size_bytes);
  Put(blob_.unit_count);
  Put(blob_.group_count);
  Put(blob_.extent_count);
  Put(uint32_t{0});
  Put(layout.units_at);
  Put(layout.groups_at);
  Put(layout.extents_at);
  Put(layout.group_extents_at);
  Put(layout.file_bytes);
}

void Encoder::Units() {
  size_t group = 0;
  for (size_t i = 0; i < units_.size(); ++i) {
    const Unit& unit = units_[i];
    const size_t first = group;
    while (group < groups_.size() && groups_[group].unit - blob_.first_unit == i) {
      ++group;
    }
    Put(unit.range.offset);
    Put(unit.range.length);
    Put(unit.decoded_length);
    Put(unit.window.empty() ? uint64_t{0} : unit.window.offset);
    Put(static_cast<uint32_t>(unit.window.length));
    Put(static_cast<uint8_t>(unit.codec));
    Put(unit.bits);
    Put(uint16_t{0});
    Put(static_cast<uint32_t>(first));
    Put(static_cast<uint32_t>(group - first));
  }
}

void Encoder::Groups() {
  uint32_t first_ref = 0;
  for (size_t i = 0; i < groups_.size(); ++i) {
    const Group& group = groups_[i];
    Put(group.in_unit.offset);
    Put(group.in_unit.length);
    AppendDigest(out_, group.digest);
    Put(group.unit - blob_.first_unit);
    Put(first_ref);
    Put(extents_of_group_[i]);
    Put(static_cast<uint32_t>(group.digest_kind));
    first_ref += extents_of_group_[i];
  }
}

void Encoder::Extents() {
  for (const Extent& extent : extents_) {
    Put(extent.device_offset);
    Put(extent.length);
    Put(extent.offset_in_group);
    Put(extent.group - blob_.first_group);
    Put(uint32_t{0});
  }
}

// The extents' numbers, those of one group together, in device order.
void Encoder::GroupExtents() {
  std::vector<uint32_t> next(groups_.size(), 0);
  std::exclusive_scan(extents_of_group_.begin(), extents_of_group_.end(), next.begin(), 0U);
  std::vector<uint32_t> refs(extents_.size(), 0);
  for (uint32_t i = 0; i < extents_.size(); ++i) {
    refs[next[extents_[i].group - blob_.first_group]++] = i;
  }
  for (const uint32_t ref : refs) {
    Put(ref);
  }
}

std::string Encoder::Run() {
  extents_of_group_.assign(groups_.size(), 0);
  for (const Extent& extent : extents_) {
    ++extents_of_group_[extent.group - blob_.first_group];
  }
  const Layout layout(units_.size(), groups_.size(), extents_.size());
  out_.reserve(layout.file_bytes);
  Header(layout);
  Units();
  Groups();
  Extents();
  GroupExtents();
  out_.resize(layout.file_bytes, '\0');
  return std::move(out_);
}

// The records of a map as image::ValidateBlob reads them.
class MapRecords final : public BlobRecords {
 public:
  explicit MapRecords(const BlobMap& map) : map_(map) {}
  [[nodiscard]] Unit unit(size_t number) const override {
    const UnitView view = map_.unit(static_cast<uint32_t>(number));
    return {.blob = 0,
            .range = view.range,
            .decoded_length = view.decoded_length,
            .codec = view.codec,
            .bits = view.bits,
            .window = view.window};
  }
  [[nodiscard]] Group group(size_t number) const override {
    const GroupView view = map_.group(static_cast<uint32_t>(number));
    return {.unit = view.unit,
            .in_unit = view.in_unit,
            .digest_kind = view.digest_kind,
            .digest = view.digest};
  }
  [[nodiscard]] Extent extent(size_t number) const override {
    const ExtentView view = map_.extent(static_cast<uint32_t>(number));
    return {.device_offset = view.device_offset,
            .length = view.length,
            .group = view.group,
            .offset_in_group = view.offset_in_group};
  }

 private:
  const BlobMap& map_;
};

// The header's tables are where the counts say, and the file ends with them.
Result<void> CheckLayout(const std::byte* base, uint64_t file_bytes) {
  const Layout layout(Load32(base + header::kUnitCount), Load32(base + header::kGroupCount),
                      Load32(base + header::kExtentCount));
  if (layout.file_bytes != file_bytes || Load64(base + header::kFileBytes) != file_bytes ||
      Load64(base + header::kUnitsAt) != layout.units_at ||
      Load64(base + header::kGroupsAt) != layout.groups_at ||
      Load64(base + header::kExtentsAt) != layout.extents_at ||
      Load64(base + header::kGroupExtentsAt) != layout.group_extents_at ||
      Load32(base + header::kReserved) != 0) {
    return DataLoss("blob map: {} bytes do not hold the tables of its header", file_bytes);
  }
  return Ok();
}

Result<void> CheckMagic(const std::byte* base, uint64_t file_bytes) {
  if (file_bytes < header::kBytes || std::memcmp(base, kMagic.data(), kMagic.size()) != 0) {
    return InvalidArgument("not a blob map");
  }
  const uint32_t version = Load32(base + header::kVersionAt);
  if ((version != kVersion && version != kExtendedVersion) ||
      Load32(base + header::kBytesAt) != header::kBytes) {
    return InvalidArgument("blob map of version {}, this program reads up to {}", version,
                           kExtendedVersion);
  }
  return Ok();
}

// The groups of the units lie back to back, and each says which unit it is of.
Result<void> CheckUnitGroups(const BlobMap& map) {
  uint64_t next = 0;
  for (uint32_t i = 0; i < map.unit_count(); ++i) {
    const UnitView unit = map.unit(i);
    if (unit.first_group != next || unit.group_count > map.group_count() - next) {
      return DataLoss("blob map: unit {} has groups {}+{}", i, unit.first_group, unit.group_count);
    }
    for (uint32_t group = 0; group < unit.group_count; ++group) {
      if (map.group(unit.first_group + group).unit != i) {
        return DataLoss("blob map: group {} is not of unit {}", unit.first_group + group, i);
      }
    }
    next += unit.group_count;
  }
  if (next != map.group_count()) {
    return DataLoss("blob map: {} groups, {} of them in units", map.group_count(), next);
  }
  return Ok();
}

// As many references as extents, those of a group ascending and of that group: each extent once.
Result<void> CheckGroupExtents(const BlobMap& map, const std::byte* refs) {
  uint64_t next = 0;
  for (uint32_t i = 0; i < map.group_count(); ++i) {
    const GroupView group = map.group(i);
    if (group.first_extent_ref != next || group.extent_count > map.extent_count() - next) {
      return DataLoss("blob map: group {} has extents {}+{}", i, group.first_extent_ref,
                      group.extent_count);
    }
    uint64_t previous = 0;
    for (uint32_t n = 0; n < group.extent_count; ++n) {
      const uint32_t extent = Load32(refs + (next + n) * kRefBytes);
      if (extent >= map.extent_count() || map.extent(extent).group != i ||
          (n > 0 && extent <= previous)) {
        return DataLoss("blob map: extent {} is not the {}th of group {}", extent, n, i);
      }
      previous = extent;
    }
    next += group.extent_count;
  }
  if (next != map.extent_count()) {
    return DataLoss("blob map: {} extents, {} of them in groups", map.extent_count(), next);
  }
  return Ok();
}

}  // namespace

std::string EncodeBlobMap(const LayerIndex& index, uint32_t blob) {
  FLOE_CHECK(blob < index.data().blobs.size());
  return Encoder(index, index.data().blobs[blob]).Run();
}

std::string DeviceKey(std::string_view encoded_blob_map) {
  return Digest::Of(encoded_blob_map).hex();
}

Result<std::unique_ptr<BlobMap>> BlobMap::Open(const std::filesystem::path& path,
                                               std::string_view expected_key) {
  FLOE_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  struct stat info = {};
  if (::fstat(fd.get(), &info) != 0) {
    return ErrnoError(errno, path.native());
  }
  auto map = std::unique_ptr<BlobMap>(new BlobMap());
  if (!S_ISREG(info.st_mode) || info.st_size <= 0) {
    return InvalidArgument("{}: not a blob map", path.native());
  }
  const auto bytes = static_cast<size_t>(info.st_size);
  void* base = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (base == MAP_FAILED) {
    return ErrnoError(errno, path.native());
  }
  map->base_ = static_cast<const std::byte*>(base);
  map->mapped_bytes_ = bytes;
  if (auto valid = map->Load(expected_key); !valid.has_value()) {
    return WithContext(std::move(valid).error(), path.native());
  }
  return map;
}

BlobMap::~BlobMap() {
  if (base_ != nullptr) {
    ::munmap(const_cast<std::byte*>(base_), mapped_bytes_);
  }
}

Result<void> BlobMap::Load(std::string_view expected_key) {
  FLOE_RETURN_IF_ERROR(CheckMagic(base_, mapped_bytes_));
  key_ = Digest::Of(std::span(base_, mapped_bytes_)).hex();
  if (!expected_key.empty() && key_ != expected_key) {
    return DataLoss("blob map: its sha256 is {}, not {}", key_, expected_key);
  }
  FLOE_RETURN_IF_ERROR(CheckLayout(base_, mapped_bytes_));
  blob_digest_ = Digest(LoadSha256(base_ + header::kBlobDigest));
  windows_digest_ = Digest(LoadSha256(base_ + header::kWindowsDigest));
  blob_size_bytes_ = Load64(base_ + header::kBlobSize);
  device_size_bytes_ = Load64(base_ + header::kDeviceSize);
  windows_size_bytes_ = Load64(base_ + header::kWindowsSize);
  unit_count_ = Load32(base_ + header::kUnitCount);
  group_count_ = Load32(base_ + header::kGroupCount);
  extent_count_ = Load32(base_ + header::kExtentCount);
  units_at_ = Load64(base_ + header::kUnitsAt);
  groups_at_ = Load64(base_ + header::kGroupsAt);
  extents_at_ = Load64(base_ + header::kExtentsAt);
  group_extents_at_ = Load64(base_ + header::kGroupExtentsAt);

  SourceBlob blob;
  blob.digest = blob_digest_;
  blob.size_bytes = blob_size_bytes_;
  blob.device_size_bytes = device_size_bytes_;
  blob.windows_digest = windows_digest_;
  blob.windows_size_bytes = windows_size_bytes_;
  blob.unit_count = unit_count_;
  blob.group_count = group_count_;
  blob.extent_count = extent_count_;
  FLOE_RETURN_IF_ERROR(ValidateBlob(blob, 0, MapRecords(*this)));
  FLOE_RETURN_IF_ERROR(CheckUnitGroups(*this));
  return CheckGroupExtents(*this, base_ + group_extents_at_);
}

UnitView BlobMap::unit(uint32_t index) const {
  FLOE_CHECK(index < unit_count_);
  const std::byte* at = base_ + units_at_ + index * unit_record::kBytes;
  UnitView unit;
  unit.range = {Load64(at + unit_record::kRangeOffset), Load64(at + unit_record::kRangeLength)};
  unit.decoded_length = Load64(at + unit_record::kDecodedLength);
  unit.codec = static_cast<Codec>(at[unit_record::kCodec]);
  unit.bits = std::to_integer<uint8_t>(at[unit_record::kBits]);
  unit.window = {Load64(at + unit_record::kWindowOffset), Load32(at + unit_record::kWindowLength)};
  unit.first_group = Load32(at + unit_record::kFirstGroup);
  unit.group_count = Load32(at + unit_record::kGroupCount);
  return unit;
}

GroupView BlobMap::group(uint32_t index) const {
  FLOE_CHECK(index < group_count_);
  const std::byte* at = base_ + groups_at_ + index * group_record::kBytes;
  GroupView group;
  group.in_unit = {Load64(at + group_record::kOffset), Load64(at + group_record::kLength)};
  group.digest_kind = static_cast<DigestKind>(
      std::min<uint32_t>(Load32(at + group_record::kDigestKind), UINT8_MAX));
  group.digest = LoadSha256(at + group_record::kDigest);
  group.unit = Load32(at + group_record::kUnit);
  group.first_extent_ref = Load32(at + group_record::kFirstExtentRef);
  group.extent_count = Load32(at + group_record::kExtentCount);
  return group;
}

ExtentView BlobMap::extent(uint32_t index) const {
  FLOE_CHECK(index < extent_count_);
  const std::byte* at = base_ + extents_at_ + index * extent_record::kBytes;
  ExtentView extent;
  extent.device_offset = Load64(at + extent_record::kDeviceOffset);
  extent.length = Load64(at + extent_record::kLength);
  extent.offset_in_group = Load64(at + extent_record::kOffsetInGroup);
  extent.group = Load32(at + extent_record::kGroup);
  return extent;
}

ExtentView BlobMap::GroupExtent(const GroupView& group, uint32_t n) const {
  FLOE_CHECK(n < group.extent_count);
  const uint64_t ref = uint64_t{group.first_extent_ref} + n;
  return extent(Load32(base_ + group_extents_at_ + ref * kRefBytes));
}

uint32_t BlobMap::FirstExtentEndingAfter(uint64_t device_offset) const {
  uint32_t first = 0;
  uint32_t count = extent_count_;
  while (count > 0) {
    const uint32_t half = count / 2;
    const ExtentView middle = extent(first + half);
    if (middle.device_offset + middle.length <= device_offset) {
      first += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return first;
}

}  // namespace floe::image
