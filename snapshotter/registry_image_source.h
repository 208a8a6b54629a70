#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "fetcher/registry_client.h"
#include "prepare/image_resolver.h"
#include "prepare/layer_streams.h"
#include "prepare/resolve_steps.h"
#include "snapshotter/image_source.h"
#include "snapshotter/index_push_queue.h"

namespace floe::snapshotter {

/// Images of registries; the trees of their indexes are kept on the node. A Load streams the layers
/// that have no index: that may take as long as a download of them. Thread-safe.
class RegistryImageSource final : public ImageSource {
 public:
  /// The client and the streamer must outlive this. `streamer` null: layers without an index are
  /// not streamed, whatever `options` say. `publisher` gets images whose layers were streamed;
  /// null: nobody does.
  RegistryImageSource(fetcher::RegistryClient& client, prepare::FindOptions options,
                      prepare::LayerStreamer* streamer, IndexPushQueue* publisher = nullptr);

  Result<prepare::IndexedImage> Load(const std::string& image_ref,
                                     const std::optional<Digest>& manifest,
                                     Deadline deadline) override;
  Result<prepare::LayerWithIndex> ReadKept(const std::string& scope, const Digest& layer) override;

 private:
  Result<prepare::ResolvedManifest> Resolve(const fetcher::Reference& reference,
                                            const std::optional<Digest>& manifest,
                                            Deadline deadline);

  fetcher::RegistryClient& client_;
  const prepare::FindOptions options_;
  prepare::LayerStreamer* const streamer_;
  IndexPushQueue* const publisher_;
};

}  // namespace floe::snapshotter
