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
  FLOE_ASSIGN_OR_RETURN(auto resolved, Resolve(reference, manifest, deadline));
  return prepare::FindIndexes(client_, std::move(resolved), trust_, store_dir_, deadline);
}

Result<prepare::ResolvedManifest> RegistryImageSource::Resolve(
    const fetcher::Reference& reference, const std::optional<Digest>& manifest, Deadline deadline) {
  // By its name first: an index that the name stands for may bind the Floe index.
  const image::Platform platform = image::Platform::Host();
  auto resolved = prepare::ResolveManifest(client_, reference, std::nullopt, platform, deadline);
  const bool found = resolved && (!manifest || resolved->image.manifest_digest == *manifest);
  const bool registry_answers = resolved || (resolved.error().code != ErrorCode::kUnavailable &&
                                             resolved.error().code != ErrorCode::kDeadlineExceeded);
  if (!found && manifest && registry_answers) {
    // The name has moved on, or is gone.
    return prepare::ResolveManifest(client_, reference, manifest, platform, deadline);
  }
  return resolved;
}

Result<std::shared_ptr<const image::LayerIndex>> RegistryImageSource::ReadKept(
    const std::string& scope, const Digest& layer) {
  return prepare::ReadKeptIndex(store_dir_, scope, layer);
}

}  // namespace floe::snapshotter
