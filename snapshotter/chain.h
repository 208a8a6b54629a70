#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "snapshotter/store/metastore.h"

/// Chains mix lazy layers and unpacked directories. A *run* is a maximal sequence of lazy layers in
/// a chain: it is merged into one bootstrap and mounted once.
namespace floe::snapshotter {

/// A part of a chain: an unpacked directory, or a run.
struct Piece {
  uint64_t top_id = 0;            ///< Its topmost snapshot.
  uint64_t base_id = 0;           ///< The snapshot below; 0: nothing is below.
  std::vector<LazyLayer> layers;  ///< Of a run, top first. Empty: a directory.

  [[nodiscard]] bool is_run() const { return !layers.empty(); }
};

/// Top first, as the chain.
std::vector<Piece> SplitChain(const Chain& chain);

/// Names a run's mount plan: the chain ID of its top layer and, when it stands on something, the
/// snapshot below it, whose metadata the plan may hold.
std::string RunKey(const Piece& run);

/// What the snapshots of a store still need.
struct RunsInUse {
  std::set<uint64_t> tops;  ///< Mounts: the top snapshots of the runs below active ones and views.
  std::set<std::string> keys;  ///< Plans: the keys of all runs that can be asked for.
};
RunsInUse FindRunsInUse(const std::vector<Node>& nodes);

}  // namespace floe::snapshotter
