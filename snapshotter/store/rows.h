#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "snapshotter/store/metastore.h"
#include "snapshotter/store/sqlite.h"

/// Rows of the tables to and from the store's types. Only for store/; the caller holds the store's
/// lock, and a transaction where it writes.
namespace floe::snapshotter {

/// Nothing when there is no such name.
Result<std::optional<Snapshot>> FindByName(Database& database, const std::string& name);
/// The snapshot and its parents, top first. Internal when the id does not exist.
Result<Chain> ReadChain(Database& database, uint64_t id);
Result<std::vector<Info>> ReadAllInfos(Database& database);
Result<std::vector<Node>> ReadAllNodes(Database& database);

/// Returns the new id. `parent_id` 0: none.
Result<uint64_t> InsertSnapshot(Database& database, Kind kind, const std::string& name,
                                uint64_t parent_id, std::chrono::system_clock::time_point now);
/// The snapshot has these labels and no others.
Result<void> ReplaceLabels(Database& database, uint64_t id, const Labels& labels);
Result<void> InsertLazyLayer(Database& database, uint64_t id, const LazyLayer& layer);

int64_t ToNanoseconds(std::chrono::system_clock::time_point time);

}  // namespace floe::snapshotter
