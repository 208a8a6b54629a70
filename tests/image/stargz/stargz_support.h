#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/layer_index.h"
#include "image/manifest.h"
#include "image/stargz/toc_layer.h"

namespace floe::image {

/// Where the fixtures are, when they are.
inline const std::filesystem::path kFixtureImages = FLOE_SOURCE_DIR "/../shared/fixtures/images";

/// A layer as a registry holds it, and what its image says about it.
struct FixtureLayer {
  Descriptor descriptor;
  Digest diff_id;
  std::string blob;
  std::string external_toc;  ///< The TOC blob of the TOC image, when there is one.
};

/// The manifests of an OCI layout, however deep its indexes are: bytes with media types.
struct FixtureManifest {
  Descriptor descriptor;
  std::string bytes;
  ImageManifest manifest;
};
Result<std::vector<FixtureManifest>> ReadManifests(const std::filesystem::path& layout);
Result<std::string> ReadFixtureBlob(const std::filesystem::path& layout, const Digest& digest);

/// The layers of the layout's first manifest, bottom first.
Result<std::vector<FixtureLayer>> ReadFixtureLayers(const std::filesystem::path& layout);

/// What a layer's TOC is made of, and how it is described: everything that a reader goes through.
struct TocParts {
  Codec codec = Codec::kGzip;
  TocDialect dialect = TocDialect::kStargz;
  std::string compressed;
  uint64_t decoded_length = 0;
  std::string json;
  uint64_t payload_end = 0;
};
/// Follows annotations or footer, checks the digests that are annotated.
Result<TocParts> ReadTocParts(const FixtureLayer& layer);
TocLayerSource TocSource(const FixtureLayer& layer, const TocParts& parts);
/// Both at once.
Result<LayerIndex> IndexFixture(const FixtureLayer& layer);

/// The device of the layer's blob: decodes each unit from `blob`, checks each group, copies its
/// extents.
Result<std::string> FillCheckedDevice(const LayerIndex& index, std::string_view blob);

/// "PATH sha256" of each regular file, by all of its names, sorted.
std::vector<std::string> FileDigests(const LayerIndex& index, std::string_view device);

std::span<const std::byte> BytesOf(std::string_view text);

}  // namespace floe::image
