#include "prepare/image_resolver.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/quote.h"
#include "prepare/resolve_steps.h"

namespace floe::prepare {
namespace {

constexpr uint64_t kMaxConfigBytes = 8U << 20U;

Result<void> CheckSize(std::string_view what, const image::Descriptor& descriptor,
                       std::string_view bytes) {
  if (bytes.size() != descriptor.size_bytes) {
    return DataLoss("{} {} has {} bytes, its descriptor says {}", what,
                    descriptor.digest.ToString(), bytes.size(), descriptor.size_bytes);
  }
  return Ok();
}

// Follows an index to the platform's manifest.
Result<fetcher::Manifest> FollowIndex(fetcher::RegistryClient& client, fetcher::Manifest found,
                                      const image::Platform& platform, ResolvedManifest& resolved,
                                      Deadline deadline) {
  const std::string digest = found.digest.ToString();
  auto index = image::ParseImageIndex(found.bytes);
  if (!index) {
    return WithContext(index.error(), "index " + digest);
  }
  auto chosen = image::ChoosePlatform(*index, platform);
  if (!chosen) {
    return WithContext(chosen.error(), "index " + digest);
  }
  if (!chosen->platform) {
    resolved.config_platform = platform;
  }
  resolved.image.index_digest = found.digest;
  resolved.image.index_bytes = std::move(found.bytes);
  FLOE_ASSIGN_OR_RETURN(
      fetcher::Manifest manifest,
      client.GetManifest(resolved.image.reference.repository, chosen->digest.ToString(), deadline));
  FLOE_RETURN_IF_ERROR(CheckSize("manifest", *chosen, manifest.bytes));
  return manifest;
}

Result<ResolvedManifest> ReadManifest(fetcher::RegistryClient& client,
                                      const fetcher::Reference& reference, const std::string& name,
                                      const image::Platform& platform, Deadline deadline) {
  ResolvedManifest resolved;
  resolved.image.reference = reference;
  FLOE_ASSIGN_OR_RETURN(fetcher::Manifest found,
                        client.GetManifest(reference.repository, name, deadline));
  if (image::IsIndexMediaType(found.media_type)) {
    FLOE_ASSIGN_OR_RETURN(found,
                          FollowIndex(client, std::move(found), platform, resolved, deadline));
  }
  if (!image::IsManifestMediaType(found.media_type)) {
    return InvalidArgument("{} is not an image manifest but {}", found.digest.ToString(),
                           Quote(found.media_type));
  }
  auto manifest = image::ParseImageManifest(found.bytes);
  if (!manifest) {
    return WithContext(manifest.error(), "manifest " + found.digest.ToString());
  }
  resolved.image.manifest = std::move(manifest).value();
  if (resolved.image.manifest.media_type.empty()) {
    resolved.image.manifest.media_type = found.media_type;
  }
  resolved.image.manifest_digest = found.digest;
  resolved.image.manifest_bytes = std::move(found.bytes);
  return resolved;
}

// One diff ID a layer, and the same one wherever the same layer stands.
Result<void> CheckDiffIds(const ResolvedImage& image) {
  const std::vector<Digest>& diff_ids = image.config.diff_ids;
  const std::vector<image::Descriptor>& layers = image.manifest.layers;
  if (diff_ids.size() != layers.size()) {
    return InvalidArgument("config {} has {} diff IDs for the {} layers of manifest {}",
                           image.manifest.config.digest.ToString(), diff_ids.size(), layers.size(),
                           image.manifest_digest.ToString());
  }
  std::map<Digest, Digest> known;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (known.emplace(layers[i].digest, diff_ids[i]).first->second != diff_ids[i]) {
      return InvalidArgument("config {} has two diff IDs for layer {}",
                             image.manifest.config.digest.ToString(), layers[i].digest.ToString());
    }
  }
  return Ok();
}

}  // namespace

Result<ResolvedManifest> ResolveManifest(fetcher::RegistryClient& client,
                                         const fetcher::Reference& reference,
                                         const std::optional<Digest>& manifest_digest,
                                         const image::Platform& platform, Deadline deadline) {
  std::string name = manifest_digest ? manifest_digest->ToString() : reference.ManifestName();
  auto resolved = ReadManifest(client, reference, name, platform, deadline);
  return resolved ? std::move(resolved)
                  : WithContext(std::move(resolved).error(), "image " + reference.ToString());
}

Result<void> ReadConfig(fetcher::RegistryClient& client, ResolvedManifest& resolved,
                        Deadline deadline) {
  ResolvedImage& image = resolved.image;
  const image::Descriptor& config = image.manifest.config;
  auto read = [&]() -> Result<void> {
    FLOE_ASSIGN_OR_RETURN(
        image.config_bytes,
        client.GetBlob(image.reference.repository, config.digest, kMaxConfigBytes, deadline));
    FLOE_RETURN_IF_ERROR(CheckSize("config", config, image.config_bytes));
    auto parsed = image::ParseImageConfig(image.config_bytes);
    if (!parsed) {
      return WithContext(parsed.error(), "config " + config.digest.ToString());
    }
    image.config = std::move(parsed).value();
    const auto& wanted = resolved.config_platform;
    if (wanted && (wanted->os != image.config.platform.os ||
                   wanted->architecture != image.config.platform.architecture)) {
      return NotFound("no manifest for {}: config {} is for {}", wanted->ToString(),
                      config.digest.ToString(), Quote(image.config.platform.ToString()));
    }
    FLOE_RETURN_IF_ERROR(CheckDiffIds(image));
    image.chain_ids = image::ChainIds(image.config.diff_ids);
    return Ok();
  };
  auto done = read();
  return done ? done : WithContext(std::move(done).error(), "image " + image.reference.ToString());
}

Result<ResolvedImage> ResolveImage(fetcher::RegistryClient& client,
                                   const fetcher::Reference& reference,
                                   const std::optional<Digest>& manifest_digest,
                                   const image::Platform& platform, Deadline deadline) {
  FLOE_ASSIGN_OR_RETURN(ResolvedManifest resolved,
                        ResolveManifest(client, reference, manifest_digest, platform, deadline));
  FLOE_RETURN_IF_ERROR(ReadConfig(client, resolved, deadline));
  return std::move(resolved.image);
}

std::string_view ToString(image::IndexOrigin origin) {
  switch (origin) {
    case image::IndexOrigin::kLocal:
      return "local";
    case image::IndexOrigin::kBound:
      return "bound";
    case image::IndexOrigin::kRepository:
      return "repository";
  }
  return "";
}

Result<IndexTrust> ParseIndexTrust(std::string_view text) {
  if (text == "repository") {
    return IndexTrust::kRepository;
  }
  if (text == "bound") {
    return IndexTrust::kBound;
  }
  if (text == "local") {
    return IndexTrust::kLocal;
  }
  return InvalidArgument("index.trust is '{}': use repository, bound or local", text);
}

}  // namespace floe::prepare
