#include <algorithm>
#include <future>
#include <map>
#include <utility>

#include "base/log.h"
#include "image/index_codec.h"
#include "prepare/image_resolver.h"
#include "prepare/index_artifact.h"
#include "prepare/index_store.h"

namespace floe::prepare {
namespace {

constexpr uint64_t kMaxTreeBytes = 512ULL << 20U;

bool Accepts(IndexTrust trust, image::IndexOrigin origin) {
  switch (trust) {
    case IndexTrust::kRepository:
      return true;
    case IndexTrust::kBound:
      return origin != image::IndexOrigin::kRepository;
    case IndexTrust::kLocal:
      return origin == image::IndexOrigin::kLocal;
  }
  return false;
}

// Who may vouch for an image's layers, best first.
struct Scope {
  std::string name;
  image::IndexOrigin origin;
};

std::vector<Scope> ScopesOf(const ResolvedImage& image, IndexTrust trust) {
  std::vector<Scope> scopes = {{IndexStore::LocalScope(), image::IndexOrigin::kLocal}};
  if (image.index_digest) {
    scopes.push_back({IndexStore::BoundScope(*image.index_digest), image::IndexOrigin::kBound});
  }
  scopes.push_back(
      {IndexStore::RepositoryScope(image.reference.repository), image::IndexOrigin::kRepository});
  std::erase_if(scopes, [&](const Scope& scope) { return !Accepts(trust, scope.origin); });
  return scopes;
}

Result<LayerWithIndex> DecodeTree(const StoredTree& tree, const Scope& scope,
                                  const image::Descriptor& layer, const Digest& diff_id) {
  auto index = image::DecodeLayerIndex(tree.bytes);
  if (!index) {
    return WithContext(index.error(), "index of layer " + layer.digest.ToString());
  }
  FLOE_RETURN_IF_ERROR(CheckTree(*index, layer, diff_id, tree.windows));
  LayerWithIndex result;
  result.index = std::make_shared<const image::LayerIndex>(std::move(index).value());
  result.origin = scope.origin;
  result.scope = scope.name;
  result.index_manifest = tree.index_manifest;
  result.tree_bytes = tree.bytes.size();
  return result;
}

// The kept tree of a layer, from the best scope that has a good one.
Result<LayerWithIndex> FromStore(const IndexStore& store, const std::vector<Scope>& scopes,
                                 const image::Descriptor& layer, const Digest& diff_id) {
  for (const Scope& scope : scopes) {
    auto tree = store.Get(scope.name, layer.digest);
    if (!tree) {
      continue;
    }
    auto decoded = DecodeTree(*tree, scope, layer, diff_id);
    if (decoded) {
      return decoded;
    }
    LogWarning("stored index ignored layer={} scope={} reason=\"{}\"", layer.digest.ToString(),
               scope.name, decoded.error().message);
  }
  return NotFound("no stored index of layer {}", layer.digest.ToString());
}

struct Candidate {
  Digest artifact;
  Scope scope;
};

class Finder {
 public:
  Finder(fetcher::RegistryClient& client, const ResolvedImage& image, IndexTrust trust,
         const std::string& store_dir, Deadline deadline)
      : client_(client),
        image_(image),
        trust_(trust),
        scopes_(ScopesOf(image, trust)),
        store_(store_dir),
        deadline_(deadline) {}

  Result<std::vector<LayerWithIndex>> Find() {
    if (auto stored = AllFromStore()) {
      return std::move(*stored);
    }
    FLOE_ASSIGN_OR_RETURN(std::vector<Candidate> candidates, ListCandidates());
    std::optional<Error> first_error;
    for (const Candidate& candidate : candidates) {
      auto layers = FromArtifact(candidate);
      if (layers) {
        return layers;
      }
      LogWarning("index refused image={} index={} reason=\"{}\"", image_.reference.ToString(),
                 candidate.artifact.ToString(), layers.error().message);
      if (!first_error) {
        first_error = WithContext(layers.error(), "index " + candidate.artifact.ToString());
      }
    }
    if (first_error) {
      return *first_error;
    }
    return NotFound("no index for manifest {} in {}", image_.manifest_digest.ToString(),
                    image_.reference.repository.ToString());
  }

 private:
  // Nothing unless every layer is there: a partly known image still has to ask the registry.
  std::optional<std::vector<LayerWithIndex>> AllFromStore() const {
    std::vector<LayerWithIndex> layers;
    for (size_t i = 0; i < image_.manifest.layers.size(); ++i) {
      auto layer = FromStore(store_, scopes_, image_.manifest.layers[i], image_.config.diff_ids[i]);
      if (!layer) {
        return std::nullopt;
      }
      layers.push_back(std::move(layer).value());
    }
    return layers;
  }

  Result<std::vector<Candidate>> ListCandidates() {
    std::vector<Candidate> candidates;
    if (trust_ == IndexTrust::kLocal) {
      return PermissionDenied(
          "index.trust is local and this node has no index of its own for manifest {}",
          image_.manifest_digest.ToString());
    }
    if (image_.index_digest) {
      if (auto bound = FindBoundArtifact(image_.index_bytes, image_.manifest_digest)) {
        candidates.push_back(
            {*bound, {IndexStore::BoundScope(*image_.index_digest), image::IndexOrigin::kBound}});
        return candidates;
      }
    }
    FLOE_ASSIGN_OR_RETURN(std::vector<fetcher::ReferrerDescriptor> referrers,
                          client_.ListReferrers(image_.reference.repository, image_.manifest_digest,
                                                image::kIndexArtifactType, deadline_));
    if (!referrers.empty() && trust_ != IndexTrust::kRepository) {
      return PermissionDenied(
          "index.trust is bound, and the index of manifest {} is only a referrer",
          image_.manifest_digest.ToString());
    }
    for (const fetcher::ReferrerDescriptor& referrer : referrers) {
      candidates.push_back({referrer.digest,
                            {IndexStore::RepositoryScope(image_.reference.repository),
                             image::IndexOrigin::kRepository}});
    }
    // Registries and fallback tags list the newest last.
    std::reverse(candidates.begin(), candidates.end());
    return candidates;
  }

  Result<std::vector<LayerWithIndex>> FromArtifact(const Candidate& candidate) {
    FLOE_ASSIGN_OR_RETURN(
        fetcher::Manifest manifest,
        client_.GetManifest(image_.reference.repository, candidate.artifact.ToString(), deadline_));
    FLOE_ASSIGN_OR_RETURN(IndexArtifact artifact, ParseIndexArtifact(manifest.bytes));
    if (artifact.image_manifest != image_.manifest_digest) {
      return DataLoss("its subject is another manifest, {}", artifact.image_manifest.ToString());
    }
    for (const image::Descriptor& layer : image_.manifest.layers) {
      if (!artifact.layers.contains(layer.digest)) {
        return NotFound("it holds nothing for layer {}", layer.digest.ToString());
      }
    }
    return FetchTrees(candidate, artifact);
  }

  // Each distinct layer once, all at the same time.
  Result<std::vector<LayerWithIndex>> FetchTrees(const Candidate& candidate,
                                                 const IndexArtifact& artifact) {
    std::map<Digest, std::future<Result<LayerWithIndex>>> pending;
    for (size_t i = 0; i < image_.manifest.layers.size(); ++i) {
      const image::Descriptor& layer = image_.manifest.layers[i];
      if (!pending.contains(layer.digest)) {
        pending[layer.digest] = std::async(std::launch::async, [this, &candidate, &artifact, i] {
          return FetchTree(candidate, artifact, i);
        });
      }
    }
    std::map<Digest, LayerWithIndex> trees;
    std::optional<Error> error;
    for (auto& [digest, future] : pending) {
      auto tree = future.get();
      if (tree) {
        trees[digest] = std::move(tree).value();
      } else if (!error) {
        error = std::move(tree).error();
      }
    }
    if (error) {
      return *error;
    }
    std::vector<LayerWithIndex> layers;
    layers.reserve(image_.manifest.layers.size());
    for (const image::Descriptor& layer : image_.manifest.layers) {
      layers.push_back(trees[layer.digest]);
    }
    return layers;
  }

  Result<LayerWithIndex> FetchTree(const Candidate& candidate, const IndexArtifact& artifact,
                                   size_t position) {
    const image::Descriptor& layer = image_.manifest.layers[position];
    const Digest& diff_id = image_.config.diff_ids[position];
    const ArtifactLayer& objects = artifact.layers.at(layer.digest);
    StoredTree tree;
    FLOE_ASSIGN_OR_RETURN(
        tree.bytes, client_.GetBlob(image_.reference.repository, objects.tree.digest, kMaxTreeBytes,
                                    deadline_));
    tree.index_manifest = candidate.artifact;
    tree.windows = objects.windows;
    FLOE_ASSIGN_OR_RETURN(LayerWithIndex decoded,
                          DecodeTree(tree, candidate.scope, layer, diff_id));
    if (auto kept = store_.Put(candidate.scope.name, layer.digest, tree); !kept) {
      LogWarning("index not kept layer={} reason=\"{}\"", layer.digest.ToString(),
                 kept.error().message);
    }
    return decoded;
  }

  fetcher::RegistryClient& client_;
  const ResolvedImage& image_;
  const IndexTrust trust_;
  const std::vector<Scope> scopes_;
  const IndexStore store_;
  const Deadline deadline_;
};

}  // namespace

Result<IndexedImage> FindIndexes(fetcher::RegistryClient& client, ResolvedImage image,
                                 IndexTrust trust, const std::string& store_dir,
                                 Deadline deadline) {
  FLOE_ASSIGN_OR_RETURN(std::vector<LayerWithIndex> layers,
                        Finder(client, image, trust, store_dir, deadline).Find());
  return IndexedImage{std::move(image), std::move(layers)};
}

Result<std::shared_ptr<const image::LayerIndex>> ReadKeptIndex(const std::string& store_dir,
                                                               const std::string& scope,
                                                               const Digest& layer) {
  FLOE_ASSIGN_OR_RETURN(StoredTree tree, IndexStore(store_dir).Get(scope, layer));
  FLOE_ASSIGN_OR_RETURN(image::LayerIndex index, image::DecodeLayerIndex(tree.bytes));
  return std::make_shared<const image::LayerIndex>(std::move(index));
}

}  // namespace floe::prepare
