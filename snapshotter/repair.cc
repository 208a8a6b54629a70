#include "snapshotter/repair.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/chrono.h>

#include "base/file.h"
#include "snapshotter/store/metastore.h"
#include "snapshotter/store/salvage.h"
#include "snapshotter/store/schema.h"
#include "snapshotter/store/sqlite.h"

namespace floe::snapshotter {
namespace {

namespace fs = std::filesystem;

// SQLite's file, and what it keeps beside it.
constexpr std::array kSuffixes = {"", "-wal", "-shm"};

fs::path WithSuffix(const fs::path& database, const char* suffix) {
  return database.native() + suffix;
}

Result<std::set<uint64_t>> IdsIn(const fs::path& directory) {
  std::error_code error;
  std::set<uint64_t> ids;
  if (!fs::exists(directory, error)) {
    return ids;
  }
  FLOE_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  for (const std::string& name : names) {
    if (const auto id = RootLayout::ParseId(name)) {
      ids.insert(*id);
    }
  }
  return ids;
}

Result<fs::path> MakeAside(const RootLayout& layout, const Clock& clock) {
  FLOE_RETURN_IF_ERROR(CreateDirectories(layout.lost_and_found()));
  const auto now = std::chrono::system_clock::to_time_t(clock.WallNow());
  std::string path =
      layout.lost_and_found() / fmt::format("{:%Y%m%dT%H%M%SZ}.XXXXXX", fmt::gmtime(now));
  if (::mkdtemp(path.data()) == nullptr) {
    return ErrnoError(errno, "make directory " + path);
  }
  return fs::path(path);
}

Result<void> CopyStore(const fs::path& database, const fs::path& aside) {
  for (const char* suffix : kSuffixes) {
    const fs::path from = WithSuffix(database, suffix);
    std::error_code error;
    fs::copy_file(from, aside / from.filename(), error);
    if (error && error != std::errc::no_such_file_or_directory) {
      return ErrnoError(error.value(), "copy " + from.native());
    }
  }
  return Ok();
}

Result<void> RemoveStore(const fs::path& database, bool only_beside) {
  for (const char* suffix : kSuffixes) {
    if (*suffix != '\0' || !only_beside) {
      FLOE_RETURN_IF_ERROR(RemoveFile(WithSuffix(database, suffix)));
    }
  }
  return Ok();
}

// The id that a store had which is gone: its mounts are known to the cache manager by it.
Result<void> TakeOverInstance(const RootLayout& layout, Database& database) {
  auto instance = ReadFile(layout.instance());
  if (!instance || instance->size() != 8 ||
      !std::ranges::all_of(*instance, [](unsigned char c) { return std::isxdigit(c) != 0; })) {
    return Ok();
  }
  FLOE_ASSIGN_OR_RETURN(Statement update, database.Prepare("UPDATE instance SET id=?"));
  return update.Bind(*instance).Run();
}

// No new snapshot gets an id that something on disk has.
Result<void> BeginIdsAfter(uint64_t highest, Database& database) {
  FLOE_ASSIGN_OR_RETURN(
      Statement update,
      database.Prepare("INSERT INTO sqlite_sequence(name, seq) SELECT 'snapshots', max(?,"
                       " coalesce((SELECT max(seq) FROM sqlite_sequence WHERE name='snapshots'),"
                       " 0))"));
  FLOE_RETURN_IF_ERROR(update.Bind(static_cast<int64_t>(highest)).Run());
  return database.Execute(
      "DELETE FROM sqlite_sequence WHERE name='snapshots' AND rowid NOT IN"
      " (SELECT max(rowid) FROM sqlite_sequence WHERE name='snapshots')");
}

Result<Salvaged> BuildStore(const RootLayout& layout, const fs::path& fresh,
                            const std::set<uint64_t>& directories) {
  FLOE_ASSIGN_OR_RETURN(const std::set<uint64_t> mount_points, IdsIn(layout.mount_points()));
  FLOE_RETURN_IF_ERROR(RemoveStore(fresh, false));
  FLOE_ASSIGN_OR_RETURN(const std::unique_ptr<Database> database, Database::Open(fresh));
  FLOE_RETURN_IF_ERROR(PrepareSchema(*database, Missing::kCreate));
  FLOE_RETURN_IF_ERROR(TakeOverInstance(layout, *database));
  Salvaged salvaged{.kept = 0, .lost = directories.size()};
  if (const auto old = Database::Open(layout.metadata())) {
    FLOE_ASSIGN_OR_RETURN(salvaged,
                          SalvageSnapshots(**old, *database, directories,
                                           [&](uint64_t id) { return directories.contains(id); }));
  }  // Else not even its first page can be read.
  const uint64_t highest = std::max(directories.empty() ? 0 : *directories.rbegin(),
                                    mount_points.empty() ? 0 : *mount_points.rbegin());
  FLOE_RETURN_IF_ERROR(BeginIdsAfter(highest, *database));
  return salvaged;
}

// Checks the new store as a start would, and puts aside what it knows nothing of.
Result<void> PutLostAside(const RootLayout& layout, const fs::path& fresh, const fs::path& aside,
                          const std::set<uint64_t>& directories, const Clock& clock) {
  FLOE_ASSIGN_OR_RETURN(const std::unique_ptr<MetaStore> store,
                        MetaStore::Open(fresh, clock, Missing::kRefuse));
  FLOE_RETURN_IF_ERROR(store->Nodes());
  return store->WithIds([&](const std::set<uint64_t>& ids) -> Result<void> {
    for (const uint64_t id : directories) {
      const fs::path from = layout.snapshot(id);
      if (!ids.contains(id) && ::rename(from.c_str(), (aside / from.filename()).c_str()) != 0) {
        return ErrnoError(errno, "rename " + from.native());
      }
    }
    return Ok();
  });
}

}  // namespace

Result<RepairReport> RepairStore(const RootLayout& layout, const Clock& clock) {
  std::error_code error;
  if (!fs::exists(layout.instance(), error) && !fs::exists(layout.metadata(), error)) {
    return NotFound("{} holds no metadata store", layout.root().native());
  }
  const auto sound = MetaStore::Open(layout.metadata(), clock, Missing::kRefuse);
  if (sound) {
    return RepairReport{.was_sound = true};
  }
  if (sound.error().code != ErrorCode::kDataLoss) {
    return sound.error();
  }
  FLOE_ASSIGN_OR_RETURN(const std::set<uint64_t> directories, IdsIn(layout.snapshots()));
  RepairReport report;
  FLOE_ASSIGN_OR_RETURN(report.aside, MakeAside(layout, clock));
  FLOE_RETURN_IF_ERROR(CopyStore(layout.metadata(), report.aside));
  const fs::path fresh = layout.metadata().native() + ".new";
  FLOE_ASSIGN_OR_RETURN(const Salvaged salvaged, BuildStore(layout, fresh, directories));
  report.kept = salvaged.kept;
  report.lost = salvaged.lost;
  FLOE_RETURN_IF_ERROR(PutLostAside(layout, fresh, report.aside, directories, clock));
  // Closed, it has no log any more, unless SQLite could not write all of it into the file.
  if (const fs::path log = WithSuffix(fresh, "-wal"); fs::exists(log, error)) {
    return Internal("{} holds what could not be written to {}", log.native(), fresh.native());
  }
  // The old log must not be taken for the new store's.
  FLOE_RETURN_IF_ERROR(RemoveStore(layout.metadata(), true));
  if (::rename(fresh.c_str(), layout.metadata().c_str()) != 0) {
    return ErrnoError(errno, "rename " + fresh.native());
  }
  FLOE_RETURN_IF_ERROR(SyncDirectory(layout.root()));
  return report;
}

}  // namespace floe::snapshotter
