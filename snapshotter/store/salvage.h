#pragma once

#include <cstdint>
#include <functional>
#include <set>

#include "base/result.h"
#include "snapshotter/store/sqlite.h"

namespace floe::snapshotter {

struct Salvaged {
  uint64_t kept = 0;
  uint64_t lost = 0;  ///< Of those that were still known by an id.
};

/// Copies from a damaged store into the new, empty `to` every snapshot that can be read whole: its
/// row, its lazy layer or (`has_directory`) its directory, and its parents. A label that cannot be
/// read is lost alone. `ids`: snapshots to look for besides those that the store lists. The id of
/// the instance comes along where it can be read. Fails on `to` only: what cannot be read of `from`
/// counts as lost.
Result<Salvaged> SalvageSnapshots(Database& from, Database& to, std::set<uint64_t> ids,
                                  const std::function<bool(uint64_t)>& has_directory);

}  // namespace floe::snapshotter
