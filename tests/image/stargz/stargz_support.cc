#include "tests/image/stargz/stargz_support.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "image/blob_map.h"
#include "image/group_digest.h"
#include "image/stargz/annotations.h"
#include "image/stargz/footer.h"
#include "image/stargz/toc_container.h"
#include "image/unit_decoder.h"
#include "tests/image/tar_support.h"

namespace floe::image {
namespace {

Result<void> CollectManifests(const std::filesystem::path& layout, std::string_view index,
                              std::vector<FixtureManifest>& manifests) {
  FLOE_ASSIGN_OR_RETURN(const ImageIndex parsed, ParseImageIndex(index));
  for (const Descriptor& descriptor : parsed.manifests) {
    FLOE_ASSIGN_OR_RETURN(std::string bytes, ReadFixtureBlob(layout, descriptor.digest));
    if (IsIndexMediaType(descriptor.media_type)) {
      FLOE_RETURN_IF_ERROR(CollectManifests(layout, bytes, manifests));
      continue;
    }
    FLOE_ASSIGN_OR_RETURN(ImageManifest manifest, ParseImageManifest(bytes));
    manifests.push_back({descriptor, std::move(bytes), std::move(manifest)});
  }
  return Ok();
}

Result<std::string> FindExternalToc(const std::filesystem::path& layout,
                                    const std::vector<FixtureManifest>& manifests,
                                    const Digest& layer) {
  for (const FixtureManifest& manifest : manifests) {
    for (const Descriptor& toc : manifest.manifest.layers) {
      const auto found = toc.annotations.find("containerd.io/snapshot/stargz/layer.digest");
      if (found != toc.annotations.end() && found->second == layer.ToString()) {
        return ReadFixtureBlob(layout, toc.digest);
      }
    }
  }
  return std::string();
}

}  // namespace

std::span<const std::byte> BytesOf(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Result<std::string> ReadFixtureBlob(const std::filesystem::path& layout, const Digest& digest) {
  return ReadFile(layout / "blobs/sha256" / digest.hex());
}

Result<std::vector<FixtureManifest>> ReadManifests(const std::filesystem::path& layout) {
  std::vector<FixtureManifest> manifests;
  FLOE_ASSIGN_OR_RETURN(const std::string index, ReadFile(layout / "index.json"));
  FLOE_RETURN_IF_ERROR(CollectManifests(layout, index, manifests));
  return manifests;
}

Result<std::vector<FixtureLayer>> ReadFixtureLayers(const std::filesystem::path& layout) {
  FLOE_ASSIGN_OR_RETURN(const std::vector<FixtureManifest> manifests, ReadManifests(layout));
  const ImageManifest& manifest = manifests.front().manifest;
  FLOE_ASSIGN_OR_RETURN(const std::string config_bytes,
                        ReadFixtureBlob(layout, manifest.config.digest));
  FLOE_ASSIGN_OR_RETURN(const ImageConfig config, ParseImageConfig(config_bytes));
  std::vector<FixtureLayer> layers;
  for (const Descriptor& descriptor : manifest.layers) {
    FixtureLayer layer{.descriptor = descriptor,
                       .diff_id = config.diff_ids.at(layers.size()),
                       .blob = {},
                       .external_toc = {}};
    FLOE_ASSIGN_OR_RETURN(layer.blob, ReadFixtureBlob(layout, descriptor.digest));
    FLOE_ASSIGN_OR_RETURN(layer.external_toc,
                          FindExternalToc(layout, manifests, descriptor.digest));
    layers.push_back(std::move(layer));
  }
  return layers;
}

Result<TocParts> ReadTocParts(const FixtureLayer& layer) {
  FLOE_ASSIGN_OR_RETURN(const TocAnnotations annotations, ParseTocAnnotations(layer.descriptor));
  TocParts parts;
  parts.dialect = annotations.toc_digest ? TocDialect::kStargz : TocDialect::kContainers;
  if (annotations.position) {
    const TocPosition& position = *annotations.position;
    parts.codec = Codec::kZstd;
    parts.compressed = layer.blob.substr(position.toc.offset, position.toc.length);
    parts.decoded_length = position.decoded_length;
    parts.payload_end = position.toc.offset - kSkippableHeaderBytes;
  } else {
    FLOE_ASSIGN_OR_RETURN(const Footer footer, ParseFooter(BytesOf(layer.blob), layer.blob.size()));
    parts.compressed = footer.kind == FooterKind::kExternalToc
                           ? layer.external_toc
                           : layer.blob.substr(footer.toc.offset, footer.toc.length);
    parts.payload_end = footer.payload_end;
  }
  FLOE_RETURN_IF_ERROR(CheckCompressedToc(annotations, BytesOf(parts.compressed)));
  FLOE_ASSIGN_OR_RETURN(parts.json,
                        parts.codec == Codec::kZstd
                            ? DecodeZstdToc(BytesOf(parts.compressed), parts.decoded_length)
                            : DecodeGzipToc(BytesOf(parts.compressed)));
  FLOE_RETURN_IF_ERROR(CheckTocJson(annotations, parts.json));
  return parts;
}

TocLayerSource TocSource(const FixtureLayer& layer, const TocParts& parts) {
  return {.digest = layer.descriptor.digest,
          .size_bytes = layer.descriptor.size_bytes,
          .media_type = layer.descriptor.media_type,
          .diff_id = layer.diff_id,
          .payload_end = parts.payload_end,
          .codec = parts.codec,
          .dialect = parts.dialect};
}

Result<LayerIndex> IndexFixture(const FixtureLayer& layer) {
  FLOE_ASSIGN_OR_RETURN(const TocParts parts, ReadTocParts(layer));
  return IndexFromToc(parts.json, TocSource(layer, parts));
}

Result<std::string> FillCheckedDevice(const LayerIndex& index, std::string_view blob) {
  const LayerIndexData& data = index.data();
  UnitDecoder decoder;
  std::vector<std::string> outputs;
  for (const Unit& unit : data.units) {
    const UnitView view{.range = unit.range,
                        .decoded_length = unit.decoded_length,
                        .codec = unit.codec,
                        .bits = 0,
                        .window = {},
                        .first_group = 0,
                        .group_count = 0};
    std::string& out = outputs.emplace_back(unit.decoded_length, '?');
    FLOE_RETURN_IF_ERROR(
        decoder.Decode(view, BytesOf(blob.substr(unit.range.offset, unit.range.length)), {},
                       std::as_writable_bytes(std::span(out.data(), out.size()))));
  }
  for (const Group& group : data.groups) {
    const std::string_view bytes =
        std::string_view(outputs[group.unit]).substr(group.in_unit.offset, group.in_unit.length);
    GroupView view;
    view.digest_kind = group.digest_kind;
    view.digest = group.digest;
    FLOE_RETURN_IF_ERROR(CheckGroupDigest(view, BytesOf(bytes), {}));
  }
  std::string device(data.blobs.front().device_size_bytes, '\0');
  for (const Extent& extent : data.extents) {
    const Group& group = data.groups[extent.group];
    device.replace(extent.device_offset, extent.length, outputs[group.unit],
                   group.in_unit.offset + extent.offset_in_group, extent.length);
  }
  return device;
}

namespace {

void CollectDigests(const LayerIndex& index, const Inode& directory, const std::string& path,
                    std::string_view device, std::vector<std::string>& lines) {
  for (const Dirent& dirent : index.children(directory)) {
    if (dirent.inode == kWhiteoutInode) {
      continue;
    }
    const Inode& inode = index.data().inodes[dirent.inode];
    const std::string name = path + std::string(index.str(dirent.name));
    if (S_ISDIR(inode.mode)) {
      CollectDigests(index, inode, name + "/", device, lines);
    } else if (S_ISREG(inode.mode)) {
      lines.push_back(name + " " + Digest::Of(ReadInode(index.data(), inode, device)).hex());
    }
  }
}

}  // namespace

std::vector<std::string> FileDigests(const LayerIndex& index, std::string_view device) {
  std::vector<std::string> lines;
  CollectDigests(index, index.root(), "", device, lines);
  return lines;
}

}  // namespace floe::image
