#include "tests/image/layer_support.h"

#include <span>
#include <utility>

#include "image/group_digest.h"
#include "image/unit_decoder.h"

namespace floe::image {
namespace {

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Result<std::string> DecodeUnit(UnitDecoder& decoder, const Unit& unit, std::string_view blob,
                               std::string_view windows) {
  UnitView view;
  view.range = unit.range;
  view.decoded_length = unit.decoded_length;
  view.codec = unit.codec;
  view.bits = unit.bits;
  view.window = unit.window;
  std::string out(unit.decoded_length, '?');
  FLOE_RETURN_IF_ERROR(decoder.Decode(view,
                                      Bytes(blob.substr(unit.range.offset, unit.range.length)),
                                      Bytes(windows.substr(unit.window.offset, unit.window.length)),
                                      std::as_writable_bytes(std::span(out.data(), out.size()))));
  return out;
}

Result<void> CheckGroup(const Group& group, std::string_view output, const Unit& unit,
                        std::string_view blob) {
  GroupView view;
  view.digest_kind = group.digest_kind;
  view.digest = group.digest;
  return CheckGroupDigest(view, Bytes(output.substr(group.in_unit.offset, group.in_unit.length)),
                          Bytes(blob.substr(unit.range.offset, unit.range.length)));
}

}  // namespace

LayerSource SourceOf(std::string_view blob) {
  return {.digest = Digest::Of(blob),
          .size_bytes = blob.size(),
          .media_type = "application/vnd.oci.image.layer.v1.tar",
          .diff_id = {}};
}

Result<IndexedLayer> IndexBlob(std::string_view blob, const LayerSource& source,
                               IndexerOptions options, size_t step) {
  FLOE_ASSIGN_OR_RETURN(const auto indexer, LayerIndexer::Create(source, options));
  for (size_t at = 0; at < blob.size(); at += step) {
    FLOE_RETURN_IF_ERROR(indexer->Feed(Bytes(blob.substr(at, step))));
  }
  return indexer->Finish();
}

Result<std::string> FillDevice(const IndexedLayer& layer, std::string_view blob) {
  const LayerIndexData& data = layer.index.data();
  std::vector<std::string> outputs;
  UnitDecoder decoder;
  for (const Unit& unit : data.units) {
    FLOE_ASSIGN_OR_RETURN(outputs.emplace_back(), DecodeUnit(decoder, unit, blob, layer.windows));
  }
  for (const Group& group : data.groups) {
    FLOE_RETURN_IF_ERROR(CheckGroup(group, outputs[group.unit], data.units[group.unit], blob));
  }
  std::string device(data.blobs.front().device_size_bytes, '\0');
  for (const Extent& extent : data.extents) {
    const Group& group = data.groups[extent.group];
    device.replace(extent.device_offset, extent.length, outputs[group.unit],
                   group.in_unit.offset + extent.offset_in_group, extent.length);
  }
  return device;
}

}  // namespace floe::image
