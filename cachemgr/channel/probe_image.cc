#include "cachemgr/channel/probe_image.h"

#include <sys/stat.h>

#include <utility>

#include "base/digest.h"
#include "erofs/writer.h"
#include "image/blob_map.h"
#include "image/layer_index.h"

namespace floe::cachemgr {
namespace {

using image::LayerIndexData;

// Larger than any read-ahead window.
constexpr uint64_t kDistanceBytes = 64ULL << 20U;

image::StringRef Add(LayerIndexData& data, std::string_view text) {
  const image::StringRef ref{.offset = static_cast<uint32_t>(data.strings.size()),
                             .length = static_cast<uint32_t>(text.size())};
  data.strings += text;
  return ref;
}

void AddFile(LayerIndexData& data, std::string_view name, uint64_t device_offset) {
  const auto number = static_cast<uint32_t>(data.units.size());
  image::Segment segment;
  segment.length = kBlockBytes;
  segment.device_offset = device_offset;
  image::Inode inode;
  inode.mode = S_IFREG | 0400;
  inode.size_bytes = kBlockBytes;
  inode.first_segment = number;
  inode.segment_count = 1;
  image::Unit unit;
  unit.range = {.offset = number * kBlockBytes, .length = kBlockBytes};
  unit.decoded_length = kBlockBytes;
  image::Group group;
  group.unit = number;
  group.in_unit = {.offset = 0, .length = kBlockBytes};
  data.dirents.push_back(
      {.name = Add(data, name), .inode = static_cast<uint32_t>(data.inodes.size())});
  data.inodes.push_back(inode);
  data.segments.push_back(segment);
  data.units.push_back(unit);
  data.groups.push_back(group);
  data.extents.push_back({.device_offset = device_offset, .length = kBlockBytes, .group = number});
}

LayerIndexData MakeData() {
  LayerIndexData data;
  image::Inode root;
  root.mode = S_IFDIR | 0500;
  root.dirent_count = 2;
  data.inodes.push_back(root);
  AddFile(data, "filled", 0);
  AddFile(data, "refused", kDistanceBytes);
  image::SourceBlob blob;
  blob.digest = Digest::Of(std::string_view("floe probe"));
  blob.size_bytes = 2 * kBlockBytes;
  blob.device_size_bytes = kDistanceBytes + kBlockBytes;
  blob.unit_count = blob.group_count = blob.extent_count = 2;
  data.blobs.push_back(blob);
  return data;
}

}  // namespace

Result<ProbeImage> MakeProbeImage() {
  FLOE_ASSIGN_OR_RETURN(const image::LayerIndex index, image::LayerIndex::Create(MakeData()));
  ProbeImage probe;
  probe.key = image::DeviceKey(image::EncodeBlobMap(index, 0));
  const erofs::MergeLayer layer{.index = &index, .device_tags = {probe.key}};
  FLOE_ASSIGN_OR_RETURN(erofs::Bootstrap bootstrap, erofs::WriteBootstrap({&layer, 1}, {}));
  probe.bootstrap = std::move(bootstrap.bytes);
  probe.device_bytes = kDistanceBytes + kBlockBytes;
  probe.filled = {.offset = 0, .length = kBlockBytes};
  probe.refused = {.offset = kDistanceBytes, .length = kBlockBytes};
  for (uint64_t i = 0; i < kBlockBytes; ++i) {
    probe.content.push_back(static_cast<char>('a' + i % 23));
  }
  return probe;
}

}  // namespace floe::cachemgr
