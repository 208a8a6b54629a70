#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"
#include "fetcher/registry_client.h"
#include "prepare/image_resolver.h"
#include "snapshotter/image_source.h"
#include "snapshotter/root_layout.h"

namespace floe::snapshotter {

/// Images of registries. What was found once is kept on the node (manifests and configs here, trees
/// by prepare::FindIndexes), so that kStored needs no registry. Thread-safe.
class RegistryImageSource final : public ImageSource {
 public:
  /// The client must outlive this.
  RegistryImageSource(fetcher::RegistryClient& client, prepare::IndexTrust trust,
                      RootLayout layout);

  Result<prepare::IndexedImage> Load(const std::string& image_ref,
                                     const std::optional<Digest>& manifest, LoadMode mode,
                                     Deadline deadline) override;

 private:
  Result<prepare::ResolvedImage> Resolve(const fetcher::Reference& reference,
                                         const std::optional<Digest>& manifest, LoadMode mode,
                                         Deadline deadline);

  fetcher::RegistryClient& client_;
  const prepare::IndexTrust trust_;
  const RootLayout layout_;
};

}  // namespace floe::snapshotter
