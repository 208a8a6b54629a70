#include "snapshotter/registry_image_source.h"

#include <algorithm>
#include <utility>

#include "fetcher/reference.h"
#include "image/manifest.h"

namespace floe::snapshotter {

namespace {

prepare::FindOptions WithoutStreamer(prepare::FindOptions options, bool has_streamer) {
  options.may_stream = options.may_stream && has_streamer;
  return options;
}

}  // namespace

RegistryImageSource::RegistryImageSource(fetcher::RegistryClient& client,
                                         prepare::FindOptions options,
                                         prepare::LayerStreamer* streamer,
                                         IndexPushQueue* publisher)
    : client_(client),
      options_(WithoutStreamer(std::move(options), streamer != nullptr)),
      streamer_(streamer),
      publisher_(publisher) {}

Result<prepare::IndexedImage> RegistryImageSource::Load(const std::string& image_ref,
                                                        const std::optional<Digest>& manifest,
                                                        Deadline deadline) {
  FLOE_ASSIGN_OR_RETURN(fetcher::Reference reference, fetcher::Reference::Parse(image_ref));
  FLOE_ASSIGN_OR_RETURN(auto resolved, Resolve(reference, manifest, deadline));
  FLOE_ASSIGN_OR_RETURN(prepare::IndexedImage image,
                        prepare::FindIndexes(client_, std::move(resolved), options_, deadline));
  const bool is_complete = std::ranges::none_of(
      image.layers, [](const prepare::LayerWithIndex& layer) { return layer.index == nullptr; });
  if (!is_complete) {
    FLOE_RETURN_IF_ERROR(prepare::StreamMissingLayers(*streamer_, image, options_.store_dir));
    if (publisher_ != nullptr) {
      publisher_->Add(image);
    }
  }
  return image;
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

Result<prepare::LayerWithIndex> RegistryImageSource::ReadKept(const std::string& scope,
                                                              const Digest& layer) {
  return prepare::ReadKeptLayer(options_.store_dir, scope, layer);
}

}  // namespace floe::snapshotter
