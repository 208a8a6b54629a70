#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "prepare/image_resolver.h"
#include "prepare/index_publisher.h"
#include "tests/support/memory_registry_client.h"

namespace floe::prepare {

inline constexpr const char* kManifestType = "application/vnd.oci.image.manifest.v1+json";
inline constexpr const char* kIndexType = "application/vnd.oci.image.index.v1+json";
inline constexpr const char* kGzipLayerType = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A layer as a registry holds it, with the diff ID that its config says.
struct TestLayer {
  std::string blob;
  Digest diff_id;
  std::string media_type = kGzipLayerType;

  [[nodiscard]] Digest digest() const { return Digest::Of(blob); }
};

/// A gzip layer with one file `name` of `bytes` bytes, which `seed` decides. They compress, and
/// what is large enough gives spans that refer back, so windows.
TestLayer GzipLayer(const std::string& name, size_t bytes, uint32_t seed);

/// What a test changes about an otherwise good image before it is pushed.
struct ImageOptions {
  std::string architecture = "amd64";
  bool media_type_in_manifest = true;
  std::optional<uint64_t> config_size = {};          ///< What the manifest says.
  std::optional<std::vector<Digest>> diff_ids = {};  ///< What the config says.
};

/// Pushes config, layers and manifest; `tag` may be empty.
Digest PushImage(testing::MemoryRegistryClient& registry, const fetcher::Repository& repository,
                 const std::string& tag, const std::vector<TestLayer>& layers,
                 const ImageOptions& options = {});

/// An entry of an OCI index: manifest digest and platform architecture (empty: no platform).
using IndexEntry = std::pair<Digest, std::string>;
Digest PushImageIndex(testing::MemoryRegistryClient& registry,
                      const fetcher::Repository& repository, const std::string& tag,
                      const std::vector<IndexEntry>& entries);

/// A registry with an image of two gzip layers, the lower one with windows, as registry/app:1.
class ImageFixture {
 public:
  ImageFixture();

  [[nodiscard]] Result<ResolvedImage> Resolve(const std::string& tag = "1",
                                              const std::string& architecture = "amd64");
  /// CreateIndex with spans of 64 KiB.
  Result<PublishedIndex> Index(const ResolvedImage& image, PublishOptions options = {});
  /// Resolves `tag` and finds its indexes.
  Result<IndexedImage> Find(IndexTrust trust, const std::string& store_dir = "",
                            const std::string& tag = "1");

  [[nodiscard]] fetcher::Reference Ref(const std::string& tag) const {
    return {repository, tag, std::nullopt};
  }

  testing::MemoryRegistryClient registry;
  const fetcher::Repository repository{"registry.test", "app"};
  std::vector<TestLayer> layers;
  Digest manifest;
};

/// The platform that tests resolve for.
image::Platform LinuxOn(const std::string& architecture);

}  // namespace floe::prepare
