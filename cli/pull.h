#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "client/containerd_client.h"
#include "fetcher/registry_client.h"
#include "prepare/image_resolver.h"

namespace floe::cli {

/// How a layer came to be.
enum class LayerOutcome {
  kPresent,   ///< containerd had the snapshot already.
  kLazy,      ///< The snapshotter provides it: nothing was downloaded.
  kUnpacked,  ///< Downloaded and unpacked.
};

struct PulledLayer {
  Digest digest;
  LayerOutcome outcome = LayerOutcome::kPresent;
  uint64_t size_bytes = 0;        ///< Compressed, in the registry.
  uint64_t downloaded_bytes = 0;  ///< By this pull.
};

struct PullReport {
  std::string image_name;
  Digest target;  ///< What the image record points to: index or manifest.
  std::vector<PulledLayer> layers;
  uint64_t metadata_bytes = 0;  ///< Index, manifest and config.
};

/// Bytes of one layer so far; called on the calling thread.
using LayerProgress = std::function<void(size_t layer, uint64_t bytes_done, uint64_t bytes_total)>;

/// Pulls a resolved image into containerd the way a client of containerd does that knows about
/// remote snapshots (docs/snapshotter.md): manifest and config into the content store, a snapshot
/// per layer, the image record last. A layer whose Prepare answers AlreadyExists is lazy; any other
/// is downloaded and unpacked. A failed pull leaves nothing but content that the garbage collector
/// takes, and no image record.
Result<PullReport> PullImage(client::ContainerdClient& containerd,
                             fetcher::RegistryClient& registry, const prepare::ResolvedImage& image,
                             const std::string& snapshotter, const LayerProgress& progress,
                             Deadline deadline);

/// The labels of a layer's Prepare: the target's chain ID and what a remote snapshotter needs to
/// know of the image, under the names that containerd's CRI plugin uses. `layer` counts from the
/// bottom.
client::Labels LayerLabels(const prepare::ResolvedImage& image, size_t layer);

}  // namespace floe::cli
