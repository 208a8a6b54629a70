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

/// "local", "bound", "repository".
std::string_view ToString(image::IndexOrigin origin);

/// The index of one layer, ready to merge, and how it came to be.
struct LayerWithIndex {
  /// Null: there is none, and the layer is to be streamed (prepare/layer_streams.h).
  std::shared_ptr<const image::LayerIndex> index;
  image::IndexOrigin origin = image::IndexOrigin::kRepository;
  std::string reader;     ///< prepare/layer_reader.h has the names.
  std::string why_not;    ///< Why no better reader served it; one line, empty: none was better.
  Digest index_manifest;  ///< The artifact it came from; zero when local.
  std::string scope;      ///< IndexStore scope under which the tree is kept.
  uint64_t tree_bytes =
      0;  ///< Bytes that were read for it: the tree object, or what a reader read.
};

/// All layers, bottom to top, or why the image cannot be lazy: NotFound (no index),
/// PermissionDenied (trust), DataLoss (an index that lies), Unavailable (registry). One line that
/// names the digest.
struct IndexedImage {
  ResolvedImage image;
  std::vector<LayerWithIndex> layers;
};

/// How indexes are found.
struct FindOptions {
  IndexTrust trust = IndexTrust::kRepository;
  /// Where trees are kept, so that the next start needs no registry; empty: nothing is kept.
  std::string store_dir = {};
  /// Layers that nothing lazy was found for come back without an index, instead of an error.
  bool may_stream = false;
  /// Formats without digests are read all the same.
  bool allow_unverified = false;
};

/// Resolves an image and finds an index for each layer through the reader that fits it:
///  1. what this node keeps;
///  2. a Floe index that the image's OCI index binds;
///  3. the layer's own format: a table of contents of eStargz or zstd:chunked, the bootstrap of a
///     Nydus image, a SOCI index that is bound;
///  4. referrers: Floe indexes, then SOCI's (asked for while the config is read, when it looks as
///     if they will be wanted).
/// FindOptions::trust decides which of them count (docs/trust.md).
Result<IndexedImage> ResolveIndexedImage(fetcher::RegistryClient& client,
                                         const fetcher::Reference& reference,
                                         const std::optional<Digest>& manifest_digest,
                                         const image::Platform& platform,
                                         const FindOptions& options, Deadline deadline);

/// Reads the kept index of one layer again, without the registry. NotFound: it is not there (any
/// more).
Result<LayerWithIndex> ReadKeptLayer(const std::string& store_dir, const std::string& scope,
                                     const Digest& layer);

}  // namespace floe::prepare
