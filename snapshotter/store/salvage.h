#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include "base/digest.h"
#include "base/result.h"

namespace floe::snapshotter {

/// A snapshot as it was read from a damaged store.
struct Candidate {
  uint64_t id = 0;
  std::string name;
  std::string parent;                   ///< Its name; empty: none.
  std::optional<Digest> lazy_chain_id;  ///< Of a lazy layer.
};

struct SalvageOptions {
  std::set<uint64_t> ids;  ///< To look for besides those that the store lists.
  /// What the rows cannot say of themselves: false, and the snapshot is lost.
  std::function<bool(const Candidate&)> is_whole;
  std::string instance;  ///< Empty: that of the damaged store, or a new one.
  uint64_t last_id = 0;  ///< New snapshots get higher ones.
};

struct Salvaged {
  uint64_t kept = 0;
  uint64_t lost = 0;  ///< Of those that were still known by an id.
};

/// Makes a new store at `fresh`, where nothing is yet, with every snapshot of `damaged` that can be
/// read whole: its row, which no index contradicts, its lazy layer, and its parents. A label that
/// cannot be read is lost alone. `damaged` may be missing, and is not believed to be a database.
/// What SQLite calls damage counts as lost; any other error fails.
Result<Salvaged> SalvageStore(const std::filesystem::path& damaged,
                              const std::filesystem::path& fresh, const SalvageOptions& options);

}  // namespace floe::snapshotter
