#include "snapshotter/repair.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/chrono.h>

#include "base/file.h"
#include "snapshotter/remote.h"
#include "snapshotter/root_store.h"
#include "snapshotter/store/metastore.h"
#include "snapshotter/store/salvage.h"

namespace floe::snapshotter {
namespace {

namespace fs = std::filesystem;

// SQLite's file, and what it keeps beside it.
constexpr std::array kSuffixes = {"", "-wal", "-shm"};

fs::path WithSuffix(const fs::path& database, const char* suffix) {
  return database.native() + suffix;
}

Result<std::vector<std::string>> NamesIn(const fs::path& directory) {
  std::error_code error;
  return fs::exists(directory, error)
             ? ListDirectory(directory)
             : Result<std::vector<std::string>>(std::vector<std::string>());
}

Result<std::set<uint64_t>> Directories(const RootLayout& layout) {
  FLOE_ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(layout.snapshots()));
  std::set<uint64_t> ids;
  for (const std::string& name : names) {
    if (const auto id = RootLayout::ParseId(name)) {
      ids.insert(*id);
    }
  }
  return ids;
}

// The highest id in any name: "7", "rm-7", "<chain id>-7".
Result<uint64_t> HighestIdOnDisk(const RootLayout& layout) {
  std::vector<fs::path> places = {layout.snapshots(), layout.mount_points(), layout.plans()};
  FLOE_ASSIGN_OR_RETURN(const std::vector<std::string> former, NamesIn(layout.lost_and_found()));
  for (const std::string& name : former) {
    places.push_back(layout.lost_and_found() / name);
  }
  uint64_t highest = 0;
  for (const fs::path& place : places) {
    FLOE_ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(place));
    for (const std::string& name : names) {
      const std::string_view last = std::string_view(name).substr(name.rfind('-') + 1);
      highest = std::max(highest, RootLayout::ParseId(last).value_or(0));
    }
  }
  return highest;
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

void RemoveAside(const RootLayout& layout, const fs::path& aside) {
  (void)RemoveTree(aside);
  ::rmdir(layout.lost_and_found().c_str());  // Unless an earlier repair put something there.
}

// Before anything opens the database: that alone may change it and end its log.
Result<void> CopyStore(const fs::path& database, const fs::path& aside) {
  for (const char* suffix : kSuffixes) {
    const fs::path from = WithSuffix(database, suffix);
    const fs::path to = aside / from.filename();
    std::error_code error;
    fs::copy_file(from, to, error);
    if (error == std::errc::no_such_file_or_directory) {
      continue;
    }
    if (error) {
      return ErrnoError(error.value(), "copy " + from.native());
    }
    FLOE_ASSIGN_OR_RETURN(const UniqueFd copy, OpenFile(to, O_RDONLY));
    if (::fsync(copy.get()) != 0) {
      return ErrnoError(errno, "sync " + to.native());
    }
  }
  return SyncDirectory(aside);
}

Result<void> RemoveStore(const fs::path& database, bool only_beside) {
  for (const char* suffix : kSuffixes) {
    if (*suffix != '\0' || !only_beside) {
      FLOE_RETURN_IF_ERROR(RemoveFile(WithSuffix(database, suffix)));
    }
  }
  return Ok();
}

Result<Salvaged> BuildStore(const RootLayout& layout, const fs::path& fresh,
                            const std::set<uint64_t>& directories) {
  SalvageOptions options;
  options.ids = directories;
  // An unpacked layer without files, and a lazy one under a wrong name, would be a wrong tree.
  options.is_whole = [&](const Candidate& candidate) {
    return candidate.lazy_chain_id
               ? candidate.name == LazySnapshotName(*candidate.lazy_chain_id, candidate.parent)
               : directories.contains(candidate.id);
  };
  options.instance = ReadFile(layout.instance()).value_or("");
  FLOE_ASSIGN_OR_RETURN(options.last_id, HighestIdOnDisk(layout));
  FLOE_RETURN_IF_ERROR(RemoveStore(fresh, false));
  return SalvageStore(layout.metadata(), fresh, options);
}

// Checks the new store, and puts aside the directories that it knows nothing of.
Result<void> PutLostAside(const RootLayout& layout, const fs::path& fresh, const fs::path& aside,
                          const std::set<uint64_t>& directories, const Clock& clock) {
  FLOE_ASSIGN_OR_RETURN(const std::unique_ptr<MetaStore> store,
                        MetaStore::Open(fresh, clock, Missing::kRefuse));
  FLOE_RETURN_IF_ERROR(store->Nodes());
  FLOE_RETURN_IF_ERROR(store->WithIds([&](const std::set<uint64_t>& ids) -> Result<void> {
    for (const uint64_t id : directories) {
      const fs::path from = layout.snapshot(id);
      if (!ids.contains(id) && ::rename(from.c_str(), (aside / from.filename()).c_str()) != 0) {
        return ErrnoError(errno, "rename " + from.native());
      }
    }
    return Ok();
  }));
  FLOE_RETURN_IF_ERROR(SyncDirectory(aside));
  FLOE_RETURN_IF_ERROR(SyncDirectory(layout.lost_and_found()));
  return directories.empty() ? Ok() : SyncDirectory(layout.snapshots());
}

Result<RepairReport> Repair(const RootLayout& layout, const fs::path& aside, const Clock& clock) {
  FLOE_ASSIGN_OR_RETURN(const std::set<uint64_t> directories, Directories(layout));
  const fs::path fresh = layout.metadata().native() + ".new";
  FLOE_ASSIGN_OR_RETURN(const Salvaged salvaged, BuildStore(layout, fresh, directories));
  FLOE_RETURN_IF_ERROR(PutLostAside(layout, fresh, aside, directories, clock));
  // Closed, it has no log any more, unless SQLite could not write all of it into the file.
  std::error_code error;
  if (const fs::path log = WithSuffix(fresh, "-wal"); fs::exists(log, error)) {
    return Internal("{} holds what could not be written to {}", log.native(), fresh.native());
  }
  // The old log must not be taken for the new store's.
  FLOE_RETURN_IF_ERROR(RemoveStore(layout.metadata(), true));
  if (::rename(fresh.c_str(), layout.metadata().c_str()) != 0) {
    return ErrnoError(errno, "rename " + fresh.native());
  }
  FLOE_RETURN_IF_ERROR(SyncDirectory(layout.root()));
  return RepairReport{
      .was_sound = false, .kept = salvaged.kept, .lost = salvaged.lost, .aside = aside};
}

}  // namespace

Result<RepairReport> RepairStore(const RootLayout& layout, const Clock& clock) {
  std::error_code error;
  if (!fs::exists(layout.instance(), error) && !fs::exists(layout.metadata(), error)) {
    return NotFound("{} holds no metadata store", layout.root().native());
  }
  FLOE_ASSIGN_OR_RETURN(const fs::path aside, MakeAside(layout, clock));
  FLOE_RETURN_IF_ERROR(CopyStore(layout.metadata(), aside));
  if (auto sound = OpenSoundStore(layout, clock);
      sound || sound.error().code != ErrorCode::kDataLoss) {
    RemoveAside(layout, aside);
    return sound ? Result<RepairReport>(RepairReport{.was_sound = true}) : sound.error();
  }
  return Repair(layout, aside, clock);
}

}  // namespace floe::snapshotter
