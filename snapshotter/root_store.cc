#include "snapshotter/root_store.h"

#include <filesystem>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.h"

namespace floe::snapshotter {
namespace {

namespace fs = std::filesystem;

// The highest id that a snapshot's directory has; 0: there are none.
Result<uint64_t> HighestDirectory(const RootLayout& layout) {
  std::error_code error;
  if (!fs::exists(layout.snapshots(), error)) {
    return uint64_t{0};
  }
  FLOE_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(layout.snapshots()));
  uint64_t highest = 0;
  for (const std::string& name : names) {
    highest = std::max(highest, RootLayout::ParseId(name).value_or(0));
  }
  return highest;
}

bool IsGone(const fs::path& database) {
  std::error_code error;
  return !fs::exists(database, error) || fs::file_size(database, error) == 0;
}

// What SQLite's own check does not see.
Result<void> CheckContents(MetaStore& store, uint64_t highest_directory) {
  if (auto nodes = store.Nodes(); !nodes) {
    return DataLoss("metadata store is damaged: {}", nodes.error().message);
  }
  FLOE_ASSIGN_OR_RETURN(const uint64_t last_id, store.LastId());
  // The directory of a snapshot whose transaction was cut has the next id.
  if (highest_directory > last_id + 1) {
    return DataLoss("metadata store is older than its files: it ends at id {}, they at {}", last_id,
                    highest_directory);
  }
  return Ok();
}

}  // namespace

Result<std::unique_ptr<MetaStore>> OpenSoundStore(const RootLayout& layout, const Clock& clock) {
  std::error_code error;
  const bool has_instance = fs::exists(layout.instance(), error);
  if (error) {
    return ErrnoError(error.value(), "stat " + layout.instance().native());
  }
  FLOE_ASSIGN_OR_RETURN(const uint64_t highest_directory, HighestDirectory(layout));
  const bool was_there = has_instance || highest_directory > 0;
  // Not even opened: SQLite would throw away the log of a file that is empty.
  if (was_there && IsGone(layout.metadata())) {
    return DataLoss("{}: metadata store is gone", layout.metadata().native());
  }
  FLOE_ASSIGN_OR_RETURN(
      std::unique_ptr<MetaStore> store,
      MetaStore::Open(layout.metadata(), clock, was_there ? Missing::kRefuse : Missing::kCreate));
  if (auto checked = CheckContents(*store, highest_directory); !checked) {
    return WithContext(checked.error(), layout.metadata().native());
  }
  if (!has_instance) {
    FLOE_RETURN_IF_ERROR(WriteFileAtomically(layout.instance(), store->instance()));
  }
  return store;
}

Result<std::unique_ptr<MetaStore>> OpenRootStore(const RootLayout& layout, const Clock& clock) {
  auto store = OpenSoundStore(layout, clock);
  if (!store && store.error().code == ErrorCode::kDataLoss) {
    Error why = store.error();
    why.message +=
        fmt::format("; to repair it: floe-snapshotter --root {} --repair", layout.root().native());
    return why;
  }
  return store;
}

}  // namespace floe::snapshotter
