#include "snapshotter/registry_image_source.h"

#include <utility>

#include "fetcher/reference.h"
#include "image/manifest.h"

namespace floe::snapshotter {

RegistryImageSource::RegistryImageSource(fetcher::RegistryClient& client, prepare::IndexTrust trust,
                                         std::string store_dir)
    : client_(client), trust_(trust), store_dir_(std::move(store_dir)) {}

Result<prepare::IndexedImage> RegistryImageSource::Load(const std::string& image_ref,
                                                        const std::optional<Digest>& manifest,
                                                        Deadline deadline) {
  FLOE_ASSIGN_OR_RETURN(fetcher::Reference reference, fetcher::Reference::Parse(image_ref));
  FLOE_ASSIGN_OR_RETURN(prepare::ResolvedImage image, Resolve(reference, manifest, deadline));
  return prepare::FindIndexes(client_, std::move(image), trust_, store_dir_, deadline);
}

Result<prepare::ResolvedImage> RegistryImageSource::Resolve(const fetcher::Reference& reference,
                                                            const std::optional<Digest>& manifest,
                                                            Deadline deadline) {
  // By its name first: an index that the name stands for may bind the Floe index.
  const image::Platform platform = image::Platform::Host();
  auto image = prepare::ResolveImage(client_, reference, std::nullopt, platform, deadline);
  const bool found = image && (!manifest || image->manifest_digest == *manifest);
  const bool registry_answers = image || (image.error().code != ErrorCode::kUnavailable &&
                                          image.error().code != ErrorCode::kDeadlineExceeded);
  if (!found && manifest && registry_answers) {
    // The name has moved on, or is gone.
    return prepare::ResolveImage(client_, reference, manifest, platform, deadline);
  }
  return image;
}

Result<std::shared_ptr<const image::LayerIndex>> RegistryImageSource::ReadKept(
    const std::string& scope, const Digest& layer) {
  return prepare::ReadKeptIndex(store_dir_, scope, layer);
}

}  // namespace floe::snapshotter
