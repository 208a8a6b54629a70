#include "tests/prepare/image_support.h"

#include <random>

#include <nlohmann/json.hpp>

#include "tests/image/gzip_support.h"
#include "tests/image/tar_support.h"

namespace floe::prepare {
namespace {

using Json = nlohmann::ordered_json;

// Words from a small vocabulary: they compress to about a third and refer back all the time.
std::string Prose(size_t bytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::string text;
  while (text.size() < bytes) {
    text += fmt::format("{:04x} ", random() % 5000);
  }
  text.resize(bytes);
  return text;
}

Json DescriptorJson(const std::string& media_type, const Digest& digest, uint64_t size) {
  return {{"mediaType", media_type}, {"digest", digest.ToString()}, {"size", size}};
}

std::string ConfigJson(const std::vector<Digest>& diff_ids, const std::string& architecture) {
  Json ids = Json::array();
  for (const Digest& id : diff_ids) {
    ids.push_back(id.ToString());
  }
  return Json{{"os", "linux"},
              {"architecture", architecture},
              {"rootfs", {{"type", "layers"}, {"diff_ids", std::move(ids)}}}}
      .dump();
}

}  // namespace

image::Platform LinuxOn(const std::string& architecture) {
  image::Platform platform;
  platform.os = "linux";
  platform.architecture = architecture;
  return platform;
}

TestLayer GzipLayer(const std::string& name, size_t bytes, uint32_t seed) {
  image::TarArchive tar;
  tar.Directory("data/").File("data/" + name, Prose(bytes, seed)).End();
  TestLayer layer;
  layer.blob = image::GzipMember(tar.bytes());
  layer.diff_id = Digest::Of(tar.bytes());
  return layer;
}

Digest PushImage(testing::MemoryRegistryClient& registry, const fetcher::Repository& repository,
                 const std::string& tag, const std::vector<TestLayer>& layers,
                 const ImageOptions& options) {
  std::vector<Digest> diff_ids;
  Json descriptors = Json::array();
  for (const TestLayer& layer : layers) {
    diff_ids.push_back(layer.diff_id);
    descriptors.push_back(DescriptorJson(layer.media_type, registry.AddBlob(repository, layer.blob),
                                         layer.blob.size()));
  }
  const std::string config = ConfigJson(options.diff_ids.value_or(diff_ids), options.architecture);
  Json manifest{{"schemaVersion", 2}};
  if (options.media_type_in_manifest) {
    manifest["mediaType"] = kManifestType;
  }
  manifest["config"] = DescriptorJson("application/vnd.oci.image.config.v1+json",
                                      registry.AddBlob(repository, config),
                                      options.config_size.value_or(config.size()));
  manifest["layers"] = std::move(descriptors);
  return registry.AddManifest(repository, tag, kManifestType, manifest.dump());
}

Digest PushImageIndex(testing::MemoryRegistryClient& registry,
                      const fetcher::Repository& repository, const std::string& tag,
                      const std::vector<IndexEntry>& entries) {
  Json manifests = Json::array();
  for (const auto& [digest, architecture] : entries) {
    auto manifest = registry.FindManifest(repository, digest.ToString());
    Json entry = DescriptorJson(kManifestType, digest, manifest ? manifest->bytes.size() : 1);
    if (!architecture.empty()) {
      entry["platform"] = {{"architecture", architecture}, {"os", "linux"}};
    }
    manifests.push_back(std::move(entry));
  }
  Json index{{"schemaVersion", 2}, {"mediaType", kIndexType}, {"manifests", std::move(manifests)}};
  return registry.AddManifest(repository, tag, kIndexType, index.dump(2));
}

ImageFixture::ImageFixture()
    : layers({GzipLayer("large", 600000, 1), GzipLayer("small", 3000, 2)}) {
  manifest = PushImage(registry, repository, "1", layers);
}

Result<ResolvedImage> ImageFixture::Resolve(const std::string& tag,
                                            const std::string& architecture) {
  return ResolveImage(registry, Ref(tag), std::nullopt, LinuxOn(architecture), Deadline());
}

Result<PublishedIndex> ImageFixture::Index(const ResolvedImage& image, PublishOptions options) {
  options.indexer.span_bytes = 64U << 10U;
  return CreateIndex(registry, image, options, nullptr, Deadline());
}

Result<IndexedImage> ImageFixture::Find(IndexTrust trust, const std::string& store_dir,
                                        const std::string& tag) {
  return ResolveIndexedImage(registry, Ref(tag), std::nullopt, LinuxOn("amd64"),
                             {.trust = trust, .store_dir = store_dir}, Deadline());
}

}  // namespace floe::prepare
