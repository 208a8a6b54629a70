#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "fetcher/registry_client.h"
#include "image/layer_indexer.h"
#include "prepare/image_resolver.h"

namespace floe::prepare {

/// Progress of a long operation: called often, on a working thread; must be quick and thread-safe.
struct Progress {
  uint32_t layer = 0;
  uint64_t bytes_done = 0, bytes_total = 0;
};
using ProgressFn = std::function<void(const Progress&)>;

struct PublishOptions {
  image::IndexerOptions indexer;
  int parallel_layers = 2;
  bool bind = false;      ///< Push an OCI index that binds image and Floe index by digest ...
  std::string bind_tag;   ///< ... under this tag; empty: the reference's own tag.
  std::string spool_dir;  ///< For native EROFS layers (prepare/layer_indexers.h).
  std::string store_dir;  ///< When not empty, keep the index here too (origin kLocal).
};

struct PublishedLayer {
  Digest layer, tree, windows;  ///< windows is zero when there are none.
  uint64_t compressed_bytes = 0, tree_bytes = 0, windows_bytes = 0, device_bytes = 0;
  uint32_t units = 0, inodes = 0;
  bool reused = false;  ///< The repository had this very tree already: nothing was pushed for it.
};
struct PublishedIndex {
  Digest manifest;  ///< Of the index artifact.
  bool used_fallback_tag = false;
  Digest bound_index;  ///< Of the binding OCI index; zero without `bind`.
  std::vector<PublishedLayer> layers;
};

/// Streams each layer once, indexes it, and pushes the index artifact whose subject is the image
/// manifest. Nothing is pushed unless every layer was indexed. Running it again gives the same
/// artifact and pushes no blob twice. Unimplemented: a layer that cannot be lazy, named by digest;
/// InvalidArgument: `bind` without any tag.
Result<PublishedIndex> CreateIndex(fetcher::RegistryClient& client, const ResolvedImage& image,
                                   const PublishOptions& options, const ProgressFn& progress,
                                   Deadline deadline);

/// Pushes the indexes of the image's streamed layers, as `store_dir` keeps them, as an index
/// artifact of the image manifest: other nodes are lazy then. NotFound: no layer was streamed.
Result<PublishedIndex> PublishStreamedLayers(fetcher::RegistryClient& client,
                                             const IndexedImage& image,
                                             const std::string& store_dir, Deadline deadline);

}  // namespace floe::prepare
