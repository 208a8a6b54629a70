#include <algorithm>
#include <limits>
#include <string_view>

#include "image/layer_index_validation.h"

namespace floe::image {
namespace {

constexpr size_t kMaxBlobs = 65535;  // EROFS numbers its devices with 16 bits.
constexpr size_t kMaxMediaTypeBytes = 255;
constexpr size_t kMaxProducerBytes = 255;

// Ends of what one blob has of the three arrays.
struct Ends {
  uint64_t unit = 0, group = 0, extent = 0;
};

bool IsPrintable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

Result<void> CheckArrays(const LayerIndexData& data) {
  constexpr size_t kLimit = std::numeric_limits<uint32_t>::max() - 1;
  if (data.blobs.size() > kMaxBlobs) {
    return DataLoss("index: {} blobs, at most {}", data.blobs.size(), kMaxBlobs);
  }
  if (data.units.size() > kLimit || data.groups.size() > kLimit || data.extents.size() > kLimit) {
    return DataLoss("index: too many units, groups or extents");
  }
  if (data.producer.size() > kMaxProducerBytes || !IsPrintable(data.producer)) {
    return DataLoss("index: bad producer");
  }
  return Ok();
}

Result<void> CheckBlob(const SourceBlob& blob, size_t number) {
  if (blob.digest.IsZero()) {
    return DataLoss("index: blob {} has no digest", number);
  }
  if (blob.media_type.size() > kMaxMediaTypeBytes || !IsPrintable(blob.media_type)) {
    return DataLoss("index: blob {} has a bad media type", number);
  }
  if (blob.size_bytes > std::numeric_limits<int64_t>::max()) {
    return DataLoss("index: blob {} has {} bytes", number, blob.size_bytes);
  }
  if (blob.device_size_bytes % kBlockBytes != 0 || blob.device_size_bytes > kMaxDeviceBytes) {
    return DataLoss("index: blob {} has a device of {} bytes", number, blob.device_size_bytes);
  }
  if (blob.windows_digest.IsZero() != (blob.windows_size_bytes == 0)) {
    return DataLoss("index: blob {} has windows of {} bytes {} a digest", number,
                    blob.windows_size_bytes, blob.windows_digest.IsZero() ? "without" : "with");
  }
  return Ok();
}

Result<void> CheckPlace(const SourceBlob& blob, size_t number, const Ends& at,
                        const LayerIndexData& data) {
  if (blob.first_unit != at.unit || blob.first_group != at.group ||
      blob.first_extent != at.extent ||
      !InArray(blob.first_unit, blob.unit_count, data.units.size()) ||
      !InArray(blob.first_group, blob.group_count, data.groups.size()) ||
      !InArray(blob.first_extent, blob.extent_count, data.extents.size())) {
    return DataLoss("index: the units, groups or extents of blob {} are not where they belong",
                    number);
  }
  return Ok();
}

Result<void> CheckCodec(const Unit& unit, const SourceBlob& blob, size_t number) {
  if (unit.codec > Codec::kLz4Block) {
    return DataLoss("index: unit {} has codec {}", number, static_cast<int>(unit.codec));
  }
  if (unit.codec == Codec::kPlain && unit.decoded_length != unit.range.length) {
    return DataLoss("index: plain unit {} has {} bytes and decodes to {}", number,
                    unit.range.length, unit.decoded_length);
  }
  if (unit.codec != Codec::kDeflate && (unit.bits != 0 || !unit.window.empty())) {
    return DataLoss("index: unit {} has a window or bits, but is not deflate", number);
  }
  if (unit.bits > 7) {
    return DataLoss("index: unit {} has {} bits", number, unit.bits);
  }
  if (unit.window.length > kMaxWindowFrameBytes || !unit.window.IsValid() ||
      unit.window.end() > blob.windows_size_bytes) {
    return DataLoss("index: unit {} has a window at {}+{} of {}", number, unit.window.offset,
                    unit.window.length, blob.windows_size_bytes);
  }
  return Ok();
}

// `previous`: where the unit before starts, in the same blob.
Result<void> CheckUnit(const Unit& unit, const SourceBlob& blob, size_t blob_number, size_t number,
                       uint64_t previous) {
  if (unit.blob != blob_number) {
    return DataLoss("index: unit {} is of blob {}, not of {}", number, unit.blob, blob_number);
  }
  const bool streamed = IsStreamed(unit.codec, unit.decoded_length);
  if (unit.range.empty() || (!streamed && unit.range.length > kMaxUnitRangeBytes) ||
      !unit.range.IsValid() || unit.range.end() > blob.size_bytes) {
    return DataLoss("index: unit {} has bytes {}+{} of {}", number, unit.range.offset,
                    unit.range.length, blob.size_bytes);
  }
  if (unit.decoded_length == 0 ||
      unit.decoded_length > (streamed ? kMaxDeviceBytes : kMaxUnitBytes)) {
    return DataLoss("index: unit {} decodes to {} bytes", number, unit.decoded_length);
  }
  FLOE_RETURN_IF_ERROR(CheckCodec(unit, blob, number));
  if (unit.range.offset < previous) {
    return DataLoss("index: unit {} starts at {}, before the last one at {}", number,
                    unit.range.offset, previous);
  }
  return Ok();
}

Result<void> CheckUnits(const SourceBlob& blob, size_t blob_number, const BlobRecords& records) {
  uint64_t previous = 0;
  for (size_t i = blob.first_unit; i < size_t{blob.first_unit} + blob.unit_count; ++i) {
    const Unit unit = records.unit(i);
    FLOE_RETURN_IF_ERROR(CheckUnit(unit, blob, blob_number, i, previous));
    previous = unit.range.offset;
  }
  return Ok();
}

// A group of a streamed unit.
Result<void> CheckSlice(const Group& group, size_t number) {
  if (group.in_unit.length > kMaxSliceBytes) {
    return DataLoss("index: group {} of a streamed unit has {} bytes, at most {}", number,
                    group.in_unit.length, kMaxSliceBytes);
  }
  if (group.digest_kind == DigestKind::kCompressedSha256) {
    return DataLoss("index: group {} of a streamed unit has a digest of compressed bytes", number);
  }
  return Ok();
}

Result<void> CheckGroups(const SourceBlob& blob, const BlobRecords& records) {
  uint64_t unit = blob.first_unit;
  uint64_t previous_end = 0;  // In that unit's decoded bytes.
  for (size_t i = blob.first_group; i < size_t{blob.first_group} + blob.group_count; ++i) {
    const Group group = records.group(i);
    if (group.unit < unit || group.unit >= uint64_t{blob.first_unit} + blob.unit_count) {
      return DataLoss("index: group {} is of unit {}", i, group.unit);
    }
    if (group.unit != unit) {
      unit = group.unit;
      previous_end = 0;
    }
    const Unit of = records.unit(group.unit);
    const uint64_t unit_bytes = of.decoded_length;
    if (group.in_unit.empty() || !group.in_unit.IsValid() || group.in_unit.end() > unit_bytes) {
      return DataLoss("index: group {} is {}+{} of a unit of {} bytes", i, group.in_unit.offset,
                      group.in_unit.length, unit_bytes);
    }
    if (group.digest_kind > DigestKind::kNone) {
      return DataLoss("index: group {} has a digest of kind {}", i,
                      static_cast<int>(group.digest_kind));
    }
    if (IsStreamed(of.codec, of.decoded_length)) {
      FLOE_RETURN_IF_ERROR(CheckSlice(group, i));
    }
    if (group.in_unit.offset < previous_end) {
      return DataLoss("index: group {} starts at {}, before {} where the last one ends", i,
                      group.in_unit.offset, previous_end);
    }
    previous_end = group.in_unit.end();
  }
  return Ok();
}

Result<void> CheckExtents(const SourceBlob& blob, const BlobRecords& records) {
  uint64_t previous_end = 0;
  for (size_t i = blob.first_extent; i < size_t{blob.first_extent} + blob.extent_count; ++i) {
    const Extent extent = records.extent(i);
    if (extent.group < blob.first_group || extent.group - blob.first_group >= blob.group_count) {
      return DataLoss("index: extent {} is of group {}", i, extent.group);
    }
    const ByteRange device{extent.device_offset, extent.length};
    if (device.empty() || !device.IsValid() || device.end() > blob.device_size_bytes) {
      return DataLoss("index: extent {} is {}+{} of a device of {} bytes", i, device.offset,
                      device.length, blob.device_size_bytes);
    }
    if (device.offset < previous_end) {
      return DataLoss("index: extent {} starts at {}, before {} where the last one ends", i,
                      device.offset, previous_end);
    }
    previous_end = device.end();
    const ByteRange in_group{extent.offset_in_group, extent.length};
    const uint64_t group_bytes = records.group(extent.group).in_unit.length;
    if (!in_group.IsValid() || in_group.end() > group_bytes) {
      return DataLoss("index: extent {} is {}+{} of a group of {} bytes", i, in_group.offset,
                      in_group.length, group_bytes);
    }
  }
  return Ok();
}

class LayerRecords final : public BlobRecords {
 public:
  explicit LayerRecords(const LayerIndexData& data) : data_(data) {}
  [[nodiscard]] Unit unit(size_t number) const override { return data_.units[number]; }
  [[nodiscard]] Group group(size_t number) const override { return data_.groups[number]; }
  [[nodiscard]] Extent extent(size_t number) const override { return data_.extents[number]; }

 private:
  const LayerIndexData& data_;
};

}  // namespace

Result<void> ValidateBlob(const SourceBlob& blob, uint32_t number, const BlobRecords& records) {
  FLOE_RETURN_IF_ERROR(CheckBlob(blob, number));
  FLOE_RETURN_IF_ERROR(CheckUnits(blob, number, records));
  FLOE_RETURN_IF_ERROR(CheckGroups(blob, records));
  return CheckExtents(blob, records);
}

Result<void> ValidateBlobs(const LayerIndexData& data) {
  FLOE_RETURN_IF_ERROR(CheckArrays(data));
  const LayerRecords records(data);
  Ends at;
  for (uint32_t i = 0; i < data.blobs.size(); ++i) {
    const SourceBlob& blob = data.blobs[i];
    FLOE_RETURN_IF_ERROR(CheckPlace(blob, i, at, data));
    FLOE_RETURN_IF_ERROR(ValidateBlob(blob, i, records));
    at.unit += blob.unit_count;
    at.group += blob.group_count;
    at.extent += blob.extent_count;
  }
  for (const PrefetchRun& run : data.prefetch) {
    if (run.unit_count == 0 || !InArray(run.first_unit, run.unit_count, data.units.size()) ||
        data.units[run.first_unit].blob != data.units[run.first_unit + run.unit_count - 1].blob) {
      return DataLoss("index: prefetch of units {}+{}", run.first_unit, run.unit_count);
    }
  }
  if (at.unit != data.units.size() || at.group != data.groups.size() ||
      at.extent != data.extents.size()) {
    return DataLoss("index: units, groups or extents of no blob");
  }
  return Ok();
}

}  // namespace floe::image
