#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "fetcher/registry_client.h"
#include "prepare/image_resolver.h"
#include "prepare/resolve_steps.h"
#include "snapshotter/image_source.h"

namespace floe::snapshotter {

/// Images of registries; the trees of their indexes are kept on the node. Thread-safe.
class RegistryImageSource final : public ImageSource {
 public:
  /// The client must outlive this. `store_dir`: where prepare keeps trees.
  RegistryImageSource(fetcher::RegistryClient& client, prepare::IndexTrust trust,
                      std::string store_dir);

  Result<prepare::IndexedImage> Load(const std::string& image_ref,
                                     const std::optional<Digest>& manifest,
                                     Deadline deadline) override;
  Result<std::shared_ptr<const image::LayerIndex>> ReadKept(const std::string& scope,
                                                            const Digest& layer) override;

 private:
  Result<prepare::ResolvedManifest> Resolve(const fetcher::Reference& reference,
                                            const std::optional<Digest>& manifest,
                                            Deadline deadline);

  fetcher::RegistryClient& client_;
  const prepare::IndexTrust trust_;
  const std::string store_dir_;
};

}  // namespace floe::snapshotter
