#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/byte_range.h"
#include "base/digest.h"
#include "base/result.h"
#include "image/layer_index.h"

namespace floe::image {

/// The BlobMap of one blob of a LayerIndex: units, groups and extents in a versioned, mmap-able,
/// little-endian form (docs/formats.md). The snapshotter writes it, the cache manager reads it.
///
/// A BlobMap is content-addressed: its *device key* is the sha256 of the file's bytes as 64 hex
/// digits, so it covers the blob digest, the device layout, the units and every group digest. Cache
/// files, cookies and EROFS device tags are named by it: two indexes that disagree never share a
/// cache file.

/// The bytes of the BlobMap of index.data().blobs[blob].
std::string EncodeBlobMap(const LayerIndex& index, uint32_t blob);
/// 64 hex digits.
std::string DeviceKey(std::string_view encoded_blob_map);

/// A unit as the fill path needs it.
struct UnitView {
  ByteRange range;
  uint64_t decoded_length = 0;
  Codec codec = Codec::kPlain;
  uint8_t bits = 0;
  ByteRange window;
  uint32_t first_group = 0;  ///< Groups of a unit are contiguous and sorted by in_unit.offset.
  uint32_t group_count = 0;
};
struct GroupView {
  uint32_t unit = 0;
  ByteRange in_unit;
  DigestKind digest_kind = DigestKind::kSha256;
  Sha256 digest{};
  uint32_t first_extent_ref = 0;  ///< Into BlobMap::GroupExtents.
  uint32_t extent_count = 0;
};
struct ExtentView {
  uint64_t device_offset = 0;
  uint64_t length = 0;
  uint32_t group = 0;
  uint64_t offset_in_group = 0;
};

/// A read-only, memory-mapped BlobMap. Immutable; any thread. Resident memory is what was touched.
class BlobMap {
 public:
  /// Maps and validates all of it (sizes, orders, ranges; one pass). InvalidArgument: not a BlobMap
  /// or another version; DataLoss: it lies, or its sha256 is not `expected_key` (when not empty).
  static Result<std::unique_ptr<BlobMap>> Open(const std::filesystem::path& path,
                                               std::string_view expected_key);
  ~BlobMap();
  BlobMap(const BlobMap&) = delete;
  BlobMap& operator=(const BlobMap&) = delete;

  [[nodiscard]] const std::string& key() const { return key_; }
  [[nodiscard]] const Digest& blob_digest() const { return blob_digest_; }
  [[nodiscard]] uint64_t blob_size_bytes() const { return blob_size_bytes_; }
  [[nodiscard]] uint64_t device_size_bytes() const { return device_size_bytes_; }
  [[nodiscard]] const Digest& windows_digest() const { return windows_digest_; }
  [[nodiscard]] uint64_t windows_size_bytes() const { return windows_size_bytes_; }

  [[nodiscard]] uint32_t unit_count() const { return unit_count_; }
  [[nodiscard]] uint32_t group_count() const { return group_count_; }
  [[nodiscard]] uint32_t extent_count() const { return extent_count_; }
  [[nodiscard]] UnitView unit(uint32_t index) const;
  [[nodiscard]] GroupView group(uint32_t index) const;
  [[nodiscard]] ExtentView extent(uint32_t index) const;
  /// The n-th extent of a group (n < extent_count).
  [[nodiscard]] ExtentView GroupExtent(const GroupView& group, uint32_t n) const;
  /// Index of the first extent that ends after `device_offset`; extent_count() when there is none.
  [[nodiscard]] uint32_t FirstExtentEndingAfter(uint64_t device_offset) const;

 private:
  BlobMap() = default;
  Result<void> Load(std::string_view expected_key);

  std::string key_;
  Digest blob_digest_, windows_digest_;
  uint64_t blob_size_bytes_ = 0, device_size_bytes_ = 0, windows_size_bytes_ = 0;
  uint32_t unit_count_ = 0, group_count_ = 0, extent_count_ = 0;
  const std::byte* base_ = nullptr;
  uint64_t mapped_bytes_ = 0;
  uint64_t units_at_ = 0, groups_at_ = 0, extents_at_ = 0, group_extents_at_ = 0;
};

}  // namespace floe::image
