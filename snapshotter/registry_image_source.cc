#include "snapshotter/registry_image_source.h"

#include <utility>

#include "base/log.h"
#include "snapshotter/manifest_store.h"

namespace floe::snapshotter {

RegistryImageSource::RegistryImageSource(fetcher::RegistryClient& client, prepare::IndexTrust trust,
                                         RootLayout layout)
    : client_(client), trust_(trust), layout_(std::move(layout)) {}

Result<prepare::IndexedImage> RegistryImageSource::Load(const std::string& image_ref,
                                                        const std::optional<Digest>& manifest,
                                                        LoadMode mode, Deadline deadline) {
  FLOE_ASSIGN_OR_RETURN(fetcher::Reference reference, fetcher::Reference::Parse(image_ref));
  FLOE_ASSIGN_OR_RETURN(prepare::ResolvedImage image, Resolve(reference, manifest, mode, deadline));
  return prepare::FindIndexes(client_, std::move(image), trust_, layout_.indexes().native(),
                              deadline);
}

Result<prepare::ResolvedImage> RegistryImageSource::Resolve(const fetcher::Reference& reference,
                                                            const std::optional<Digest>& manifest,
                                                            LoadMode mode, Deadline deadline) {
  const ManifestStore kept(layout_.manifests());
  if (manifest && mode == LoadMode::kStored) {
    if (auto stored = kept.Get(reference, *manifest)) {
      return stored;
    }
  }
  // By its name first: an index that the name stands for may bind the Floe index.
  const image::Platform platform = image::Platform::Host();
  auto image = prepare::ResolveImage(client_, reference, std::nullopt, platform, deadline);
  const bool other = image && manifest && image->manifest_digest != *manifest;
  const bool gone = !image && manifest && image.error().code == ErrorCode::kNotFound;
  if (other || gone) {
    image = prepare::ResolveImage(client_, reference, manifest, platform, deadline);
  }
  if (!image) {
    return image;
  }
  if (auto put = kept.Put(*image); !put) {
    LogWarning("manifest not kept manifest={} reason=\"{}\"", image->manifest_digest.ToString(),
               put.error().message);
  }
  return image;
}

}  // namespace floe::snapshotter
