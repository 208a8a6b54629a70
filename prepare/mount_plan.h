#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "erofs/writer.h"
#include "fetcher/reference.h"
#include "image/layer_index.h"

namespace floe::prepare {

/// A layer of a run, with the place its blobs can be fetched from.
struct PlanLayer {
  std::shared_ptr<const image::LayerIndex> index;
  std::vector<fetcher::Repository> sources;
};

/// What the cache manager is asked to mount; everything it names is on the local disk.
struct MountPlan {
  struct Device {
    std::string key;
    std::filesystem::path blob_map;
    std::vector<fetcher::Repository> sources;
    /// The blob's inflate windows, where the node made them itself; empty: none.
    std::filesystem::path windows = {};
    /// Units to fetch once it is mounted, most urgent first; numbers are the BlobMap's.
    std::vector<image::PrefetchRun> prefetch = {};
  };
  /// How a layer came to be lazy, for `floe status`.
  struct LayerNote {
    std::string digest;   ///< sha256:... of the layer.
    std::string reader;   ///< "floe-index", "estargz", "soci", ...
    std::string origin;   ///< "local", "bound", "repository".
    std::string why_not;  ///< Why no better reader served it; one line, empty when there was none.
  };
  std::filesystem::path bootstrap;
  Digest bootstrap_digest;
  std::vector<Device> devices;         ///< In slot order.
  std::vector<LayerNote> layers = {};  ///< Bottom to top.
  uint64_t inode_count = 0;
  /// Directories that the run only implies and whose metadata is below the run (erofs/writer.h).
  std::vector<std::string> unresolved_implied;
};

/// Merges a run of lazy layers (bottom to top), writes bootstrap and BlobMaps into `directory`
/// (created; files appear atomically; "plan.json" is written last and makes the directory valid),
/// and returns the plan.
Result<MountPlan> WriteMountPlan(std::span<const PlanLayer> bottom_to_top,
                                 erofs::WhiteoutForm whiteouts,
                                 const std::filesystem::path& directory);
/// Reads plan.json back; NotFound when the directory holds none, DataLoss when it is not exactly
/// what WriteMountPlan writes or a file that it names is gone: write the plan anew.
Result<MountPlan> ReadMountPlan(const std::filesystem::path& directory);

}  // namespace floe::prepare
