#include <algorithm>
#include <future>
#include <map>
#include <system_error>
#include <utility>

#include "base/log.h"
#include "base/thread_name.h"
#include "image/index_codec.h"
#include "prepare/image_resolver.h"
#include "prepare/index_artifact.h"
#include "prepare/index_store.h"
#include "prepare/parallel.h"
#include "prepare/resolve_steps.h"

namespace floe::prepare {
namespace {

constexpr uint64_t kMaxTreeBytes = 512ULL << 20U;
// Trees of one image that are fetched at the same time: small objects, so round trips count.
constexpr size_t kParallelTrees = 16;

using Referrers = Result<std::vector<fetcher::ReferrerDescriptor>>;

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
  BoundDescriptor artifact;
  Scope scope;
};

// The distinct layers of an image: position of the first of each, and which one each layer is.
struct DistinctLayers {
  explicit DistinctLayers(const std::vector<image::Descriptor>& layers) {
    std::map<Digest, size_t> seen;
    for (size_t i = 0; i < layers.size(); ++i) {
      auto [entry, is_new] = seen.emplace(layers[i].digest, first.size());
      if (is_new) {
        first.push_back(i);
      }
      of_layer.push_back(entry->second);
    }
  }

  std::vector<size_t> first;
  std::vector<size_t> of_layer;
};

class Finder {
 public:
  /// `image` must outlive this. Its config may come after Prefetch(), but before Find().
  Finder(fetcher::RegistryClient& client, const ResolvedImage& image, IndexTrust trust,
         const std::string& store_dir, Deadline deadline)
      : client_(client),
        image_(image),
        trust_(trust),
        scopes_(ScopesOf(image, trust)),
        bound_(FindBound(image)),
        store_(store_dir),
        deadline_(deadline) {}

  // Asks for the referrers on another thread, when it looks as if Find() will want them.
  void Prefetch() {
    if (trust_ == IndexTrust::kLocal || bound_ || MayBeKept()) {
      return;
    }
    try {
      prefetched_ = std::async(std::launch::async, [this] {
        SetThreadName("referrers");
        return List();
      });
    } catch (const std::system_error& error) {
      LogDebug("referrers not prefetched reason=\"{}\"", error.what());
    }
  }

  Result<std::vector<LayerWithIndex>> Find() {
    if (auto stored = AllFromStore()) {
      return std::move(*stored);
    }
    if (trust_ == IndexTrust::kLocal) {
      return PermissionDenied(
          "index.trust is local and this node has no index of its own for manifest {}",
          image_.manifest_digest.ToString());
    }
    std::optional<Error> refused;
    if (bound_) {
      auto layers = Try(*bound_, refused);
      if (layers) {
        return std::move(*layers);
      }
      if (trust_ != IndexTrust::kRepository) {
        return *refused;
      }
    }
    return FromReferrers(std::move(refused));
  }

 private:
  static std::optional<Candidate> FindBound(const ResolvedImage& image) {
    if (image.index_digest) {
      if (auto bound = FindBoundArtifact(image.index_bytes, image.manifest_digest)) {
        return Candidate{*bound,
                         {IndexStore::BoundScope(*image.index_digest), image::IndexOrigin::kBound}};
      }
    }
    return std::nullopt;
  }

  [[nodiscard]] bool MayBeKept() const {
    const auto& layers = image_.manifest.layers;
    return std::all_of(layers.begin(), layers.end(), [this](const image::Descriptor& layer) {
      return std::any_of(scopes_.begin(), scopes_.end(),
                         [&](const Scope& scope) { return store_.Has(scope.name, layer.digest); });
    });
  }

  // Nothing unless every layer is there: a partly known image still has to ask the registry.
  [[nodiscard]] std::optional<std::vector<LayerWithIndex>> AllFromStore() const {
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

  [[nodiscard]] Referrers List() const {
    return client_.ListReferrers(image_.reference.repository, image_.manifest_digest,
                                 image::kIndexArtifactType, deadline_);
  }

  // `refused`: why the bound index is no good, when there is one.
  Result<std::vector<LayerWithIndex>> FromReferrers(std::optional<Error> refused) {
    Referrers referrers = prefetched_.valid() ? prefetched_.get() : List();
    if (!referrers) {
      return refused ? *refused : std::move(referrers).error();
    }
    if (!referrers->empty() && trust_ != IndexTrust::kRepository) {
      return PermissionDenied(
          "index.trust is bound, and the index of manifest {} is only a referrer",
          image_.manifest_digest.ToString());
    }
    // Registries and fallback tags list the newest last.
    std::reverse(referrers->begin(), referrers->end());
    const Scope scope{IndexStore::RepositoryScope(image_.reference.repository),
                      image::IndexOrigin::kRepository};
    for (const fetcher::ReferrerDescriptor& referrer : *referrers) {
      if (auto layers = Try({{referrer.digest, referrer.size_bytes}, scope}, refused)) {
        return std::move(*layers);
      }
    }
    return refused ? *refused
                   : NotFound("no index for manifest {} in {}", image_.manifest_digest.ToString(),
                              image_.reference.repository.ToString());
  }

  // The layers, or a loud line; the first refusal is what the caller reports in the end.
  std::optional<std::vector<LayerWithIndex>> Try(const Candidate& candidate,
                                                 std::optional<Error>& refused) {
    auto layers = FromArtifact(candidate);
    if (layers) {
      return std::move(layers).value();
    }
    const std::string digest = candidate.artifact.digest.ToString();
    LogWarning("index refused image={} index={} reason=\"{}\"", image_.reference.ToString(), digest,
               layers.error().message);
    if (!refused) {
      refused = WithContext(std::move(layers).error(), "index " + digest);
    }
    return std::nullopt;
  }

  Result<std::vector<LayerWithIndex>> FromArtifact(const Candidate& candidate) {
    FLOE_ASSIGN_OR_RETURN(fetcher::Manifest manifest,
                          client_.GetManifest(image_.reference.repository,
                                              candidate.artifact.digest.ToString(), deadline_));
    if (manifest.bytes.size() != candidate.artifact.size_bytes) {
      return DataLoss("it has {} bytes, its descriptor says {}", manifest.bytes.size(),
                      candidate.artifact.size_bytes);
    }
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

  // Each distinct layer once, many at the same time.
  Result<std::vector<LayerWithIndex>> FetchTrees(const Candidate& candidate,
                                                 const IndexArtifact& artifact) {
    const DistinctLayers distinct(image_.manifest.layers);
    std::vector<LayerWithIndex> trees(distinct.first.size());
    FLOE_RETURN_IF_ERROR(ForEachParallel(
        trees.size(), kParallelTrees,
        [&](size_t i, const std::atomic<bool>& /*failed*/) -> Result<void> {
          FLOE_ASSIGN_OR_RETURN(trees[i], ReadTree(candidate, artifact, distinct.first[i]));
          return Ok();
        }));
    std::vector<LayerWithIndex> layers;
    layers.reserve(distinct.of_layer.size());
    for (size_t tree : distinct.of_layer) {
      layers.push_back(trees[tree]);
    }
    return layers;
  }

  // From the store when it has that very object, else from the registry and then kept.
  Result<LayerWithIndex> ReadTree(const Candidate& candidate, const IndexArtifact& artifact,
                                  size_t position) {
    const image::Descriptor& layer = image_.manifest.layers[position];
    const Digest& diff_id = image_.config.diff_ids[position];
    const ArtifactLayer& objects = artifact.layers.at(layer.digest);
    auto known = store_.Get(candidate.scope.name, layer.digest);
    if (known && Digest::Of(known->bytes) == objects.tree.digest) {
      known->index_manifest = candidate.artifact.digest;
      known->windows = objects.windows;
      return DecodeTree(*known, candidate.scope, layer, diff_id);
    }
    FLOE_ASSIGN_OR_RETURN(StoredTree tree, FetchTree(objects, layer));
    tree.index_manifest = candidate.artifact.digest;
    FLOE_ASSIGN_OR_RETURN(LayerWithIndex decoded,
                          DecodeTree(tree, candidate.scope, layer, diff_id));
    if (auto kept = store_.Put(candidate.scope.name, layer.digest, tree); !kept) {
      LogWarning("index not kept layer={} reason=\"{}\"", layer.digest.ToString(),
                 kept.error().message);
    }
    return decoded;
  }

  Result<StoredTree> FetchTree(const ArtifactLayer& objects, const image::Descriptor& layer) {
    if (objects.tree.size_bytes > kMaxTreeBytes) {
      return ResourceExhausted("the index of layer {} has {} bytes, at most {}",
                               layer.digest.ToString(), objects.tree.size_bytes, kMaxTreeBytes);
    }
    auto bytes = client_.GetBlob(image_.reference.repository, objects.tree.digest,
                                 objects.tree.size_bytes, deadline_);
    if (!bytes) {
      return WithContext(std::move(bytes).error(), "index of layer " + layer.digest.ToString());
    }
    if (bytes->size() != objects.tree.size_bytes) {
      return DataLoss("the index of layer {} has {} bytes, its descriptor says {}",
                      layer.digest.ToString(), bytes->size(), objects.tree.size_bytes);
    }
    return StoredTree{std::move(bytes).value(), {}, objects.windows};
  }

  fetcher::RegistryClient& client_;
  const ResolvedImage& image_;
  const IndexTrust trust_;
  const std::vector<Scope> scopes_;
  const std::optional<Candidate> bound_;
  const IndexStore store_;
  const Deadline deadline_;
  std::future<Referrers> prefetched_;  ///< Last: its end waits for the thread, which uses the rest.
};

}  // namespace

Result<IndexedImage> FindIndexes(fetcher::RegistryClient& client, ResolvedManifest resolved,
                                 IndexTrust trust, const std::string& store_dir,
                                 Deadline deadline) {
  std::vector<LayerWithIndex> layers;
  {
    Finder finder(client, resolved.image, trust, store_dir, deadline);
    finder.Prefetch();
    FLOE_RETURN_IF_ERROR(ReadConfig(client, resolved, deadline));
    FLOE_ASSIGN_OR_RETURN(layers, finder.Find());
  }
  return IndexedImage{std::move(resolved.image), std::move(layers)};
}

Result<IndexedImage> ResolveIndexedImage(fetcher::RegistryClient& client,
                                         const fetcher::Reference& reference,
                                         const std::optional<Digest>& manifest_digest,
                                         const image::Platform& platform, IndexTrust trust,
                                         const std::string& store_dir, Deadline deadline) {
  FLOE_ASSIGN_OR_RETURN(ResolvedManifest resolved,
                        ResolveManifest(client, reference, manifest_digest, platform, deadline));
  return FindIndexes(client, std::move(resolved), trust, store_dir, deadline);
}

Result<std::shared_ptr<const image::LayerIndex>> ReadKeptIndex(const std::string& store_dir,
                                                               const std::string& scope,
                                                               const Digest& layer) {
  FLOE_ASSIGN_OR_RETURN(StoredTree tree, IndexStore(store_dir).Get(scope, layer));
  FLOE_ASSIGN_OR_RETURN(image::LayerIndex index, image::DecodeLayerIndex(tree.bytes));
  const auto& blobs = index.data().blobs;
  if (blobs.size() != 1 || blobs[0].digest != layer) {
    return DataLoss("the stored index of layer {} speaks of another blob", layer.ToString());
  }
  return std::make_shared<const image::LayerIndex>(std::move(index));
}

}  // namespace floe::prepare
