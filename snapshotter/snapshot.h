#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/digest.h"

namespace floe::snapshotter {

/// The numbers of containerd.services.snapshots.v1.Kind.
enum class Kind : int { kView = 1, kActive = 2, kCommitted = 3 };

using Labels = std::map<std::string, std::string>;

/// What makes a committed snapshot lazy: which layer of which image it is, and whose index says so.
struct LazyLayer {
  std::string registry, repository;  ///< Where the blob can be fetched.
  Digest manifest;
  Digest layer;
  Digest chain_id;
  std::string index_scope;   ///< prepare::IndexStore scope of its tree.
  bool has_implied = false;  ///< The archive leaves out some parents.

  bool operator==(const LazyLayer&) const = default;
};

/// One row of the store.
struct Snapshot {
  int64_t id = 0;      ///< Names its directory; never used twice.
  std::string key;     ///< containerd's key (active, view) or name (committed).
  std::string parent;  ///< Name of a committed snapshot; empty: none.
  Kind kind = Kind::kActive;
  int64_t created_ns = 0, updated_ns = 0;  ///< Since the epoch.
  Labels labels;
  std::optional<LazyLayer> lazy;
};

struct Usage {
  uint64_t size_bytes = 0;
  uint64_t inodes = 0;
};

}  // namespace floe::snapshotter
