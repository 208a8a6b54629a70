#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "fetcher/reference.h"
#include "fetcher/registry_client.h"
#include "image/layer_index.h"
#include "image/manifest.h"

/// From an image reference to what can be mounted: the one code path that the snapshotter and the
/// command line share. Control plane; blocking calls; no state but the directories named below.
namespace floe::prepare {

/// An image with its manifest and config, all digests checked.
struct ResolvedImage {
  fetcher::Reference reference;
  Digest manifest_digest;  ///< Of the platform's image manifest.
  std::string manifest_bytes;
  image::ImageManifest manifest;
  std::string config_bytes;
  image::ImageConfig config;
  std::vector<Digest> chain_ids;  ///< One a layer.
  /// The index that was resolved first, when the reference named one (its bytes are what a bound
  /// Floe index is in).
  std::optional<Digest> index_digest;
  std::string index_bytes;
};

/// Resolves a reference; `manifest_digest` (when the caller knows it) skips the tag.
/// InvalidArgument when the config's diff IDs do not match the manifest's layers in number.
Result<ResolvedImage> ResolveImage(fetcher::RegistryClient& client,
                                   const fetcher::Reference& reference,
                                   const std::optional<Digest>& manifest_digest,
                                   const image::Platform& platform, Deadline deadline);

/// Which origins of an index are good enough (`index.trust`).
enum class IndexTrust { kRepository, kBound, kLocal };
Result<IndexTrust> ParseIndexTrust(std::string_view text);

/// The Floe index of one layer, ready to merge.
struct LayerWithIndex {
  std::shared_ptr<const image::LayerIndex> index;
  image::IndexOrigin origin = image::IndexOrigin::kRepository;
  Digest index_manifest;    ///< The artifact it came from; zero when local.
  std::string scope;        ///< IndexStore scope under which the tree is kept.
  uint64_t tree_bytes = 0;  ///< Compressed bytes of the tree object that were read.
};

/// All layers, bottom to top, or why the image cannot be lazy: NotFound (no index),
/// PermissionDenied (trust), DataLoss (an index that lies), Unavailable (registry). One line that
/// names the digest.
struct IndexedImage {
  ResolvedImage image;
  std::vector<LayerWithIndex> layers;
};

/// Resolves an image and finds and reads its indexes: local store first, then one bound by the
/// image's OCI index, then referrers (asked for while the config is read, unless the store has the
/// trees). Tree objects are kept in `store_dir` by digest, so that the next start needs no
/// registry; an empty `store_dir` keeps nothing.
Result<IndexedImage> ResolveIndexedImage(fetcher::RegistryClient& client,
                                         const fetcher::Reference& reference,
                                         const std::optional<Digest>& manifest_digest,
                                         const image::Platform& platform, IndexTrust trust,
                                         const std::string& store_dir, Deadline deadline);

/// Reads one kept tree again, without the registry. NotFound: it is not there (any more).
Result<std::shared_ptr<const image::LayerIndex>> ReadKeptIndex(const std::string& store_dir,
                                                               const std::string& scope,
                                                               const Digest& layer);

}  // namespace floe::prepare
