#include "prepare/image_resolver.h"

#include <utility>

namespace floe::prepare {
namespace {

constexpr uint64_t kMaxConfigBytes = 8U << 20U;

// Reads the manifest that `name` stands for; an index is followed to the platform's manifest.
Result<ResolvedImage> ResolveManifest(fetcher::RegistryClient& client,
                                      const fetcher::Reference& reference, const std::string& name,
                                      const image::Platform& platform, Deadline deadline) {
  ResolvedImage resolved;
  resolved.reference = reference;
  FLOE_ASSIGN_OR_RETURN(fetcher::Manifest found,
                        client.GetManifest(reference.repository, name, deadline));
  if (image::IsIndexMediaType(found.media_type)) {
    FLOE_ASSIGN_OR_RETURN(image::ImageIndex index, image::ParseImageIndex(found.bytes));
    FLOE_ASSIGN_OR_RETURN(image::Descriptor chosen, image::ChoosePlatform(index, platform));
    resolved.index_digest = found.digest;
    resolved.index_bytes = std::move(found.bytes);
    FLOE_ASSIGN_OR_RETURN(
        found, client.GetManifest(reference.repository, chosen.digest.ToString(), deadline));
  }
  if (!image::IsManifestMediaType(found.media_type)) {
    return InvalidArgument("{} is not an image manifest but '{}'", found.digest.ToString(),
                           found.media_type);
  }
  auto manifest = image::ParseImageManifest(found.bytes);
  if (!manifest) {
    return WithContext(manifest.error(), "manifest " + found.digest.ToString());
  }
  resolved.manifest = std::move(manifest).value();
  resolved.manifest_digest = found.digest;
  resolved.manifest_bytes = std::move(found.bytes);
  return resolved;
}

Result<void> ReadConfig(fetcher::RegistryClient& client, ResolvedImage& resolved,
                        Deadline deadline) {
  const image::Descriptor& config = resolved.manifest.config;
  FLOE_ASSIGN_OR_RETURN(
      resolved.config_bytes,
      client.GetBlob(resolved.reference.repository, config.digest, kMaxConfigBytes, deadline));
  auto parsed = image::ParseImageConfig(resolved.config_bytes);
  if (!parsed) {
    return WithContext(parsed.error(), "config " + config.digest.ToString());
  }
  resolved.config = std::move(parsed).value();
  if (resolved.config.diff_ids.size() != resolved.manifest.layers.size()) {
    return InvalidArgument("config {} has {} diff IDs for the {} layers of manifest {}",
                           config.digest.ToString(), resolved.config.diff_ids.size(),
                           resolved.manifest.layers.size(), resolved.manifest_digest.ToString());
  }
  resolved.chain_ids = image::ChainIds(resolved.config.diff_ids);
  return Ok();
}

}  // namespace

Result<ResolvedImage> ResolveImage(fetcher::RegistryClient& client,
                                   const fetcher::Reference& reference,
                                   const std::optional<Digest>& manifest_digest,
                                   const image::Platform& platform, Deadline deadline) {
  std::string name = manifest_digest ? manifest_digest->ToString() : reference.ManifestName();
  auto resolve = [&]() -> Result<ResolvedImage> {
    FLOE_ASSIGN_OR_RETURN(ResolvedImage resolved,
                          ResolveManifest(client, reference, name, platform, deadline));
    FLOE_RETURN_IF_ERROR(ReadConfig(client, resolved, deadline));
    return resolved;
  };
  auto resolved = resolve();
  if (!resolved) {
    return WithContext(resolved.error(), "image " + reference.ToString());
  }
  return resolved;
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
