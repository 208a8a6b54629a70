#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "snapshotter/store/sqlite.h"

/// The tables of metadata.db (docs/snapshotter.md).
namespace floe::snapshotter {

/// Written to the file's user_version; a file with a higher one is refused.
inline constexpr int kSchemaVersion = 1;

/// Ids count up from 1; one beyond this is none.
inline constexpr uint64_t kMaxSnapshotId = uint64_t{1} << 48;

/// 8 hex digits, as the table `instance` has them.
bool IsInstanceId(std::string_view text);

/// What to do with a file that has no tables.
enum class Missing {
  kCreate,  ///< A first start: make them.
  kRefuse,  ///< There was a store here: DataLoss.
};

/// Makes the tables in a new file, checks an old one. DataLoss when SQLite's own check finds
/// damage; FailedPrecondition when a newer Floe wrote the file.
Result<void> PrepareSchema(Database& database, Missing missing);

}  // namespace floe::snapshotter
