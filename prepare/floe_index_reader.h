#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "fetcher/registry_client.h"
#include "prepare/image_resolver.h"
#include "prepare/index_artifact.h"
#include "prepare/index_store.h"

namespace floe::prepare {

/// An index artifact that may serve an image, and the scope that its trees are kept under.
struct FloeIndexCandidate {
  BoundDescriptor artifact;
  std::string scope;
};

/// Reads Floe index artifacts of one image. All must outlive it.
class FloeIndexReader {
 public:
  FloeIndexReader(fetcher::RegistryClient& client, const ResolvedImage& image,
                  const IndexStore& store, Deadline deadline)
      : client_(client), image_(image), store_(store), deadline_(deadline) {}

  /// The layers at `positions`, in their order; without an index where the artifact holds none.
  /// Trees are read side by side, each from the store when it has that very object, and kept. An
  /// artifact that lies about one of them is an error as a whole.
  [[nodiscard]] Result<std::vector<LayerWithIndex>> Read(
      const FloeIndexCandidate& candidate, const std::vector<size_t>& positions) const;

 private:
  [[nodiscard]] Result<IndexArtifact> ReadArtifact(const FloeIndexCandidate& candidate) const;
  [[nodiscard]] Result<LayerWithIndex> ReadTree(const FloeIndexCandidate& candidate,
                                                const ArtifactLayer& objects,
                                                size_t position) const;
  [[nodiscard]] Result<StoredTree> FetchTree(const ArtifactLayer& objects,
                                             const image::Descriptor& layer) const;

  fetcher::RegistryClient& client_;
  const ResolvedImage& image_;
  const IndexStore& store_;
  const Deadline deadline_;
};

}  // namespace floe::prepare
