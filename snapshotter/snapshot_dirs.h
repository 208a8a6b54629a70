#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>

#include "base/result.h"
#include "snapshotter/root_layout.h"
#include "snapshotter/types.h"

/// The directories of snapshots on disk: <root>/snapshots/<id>/{fs,work}.
namespace floe::snapshotter {

/// Who owns the root directory of a new snapshot.
struct Owner {
  uid_t uid = 0;
  gid_t gid = 0;

  bool operator==(const Owner&) const = default;
};

/// The host's ids for the root of the user namespace that the labels describe. None without such
/// labels; InvalidArgument when they cannot be read.
Result<std::optional<Owner>> MappedRoot(const Labels& labels);

/// The owner of a directory.
Result<Owner> OwnerOf(const std::filesystem::path& directory);

/// Makes the directories of a new snapshot; what an aborted attempt left under the id is removed
/// first. Called inside the store's transaction, so that a directory without a row is an orphan.
Result<void> MakeSnapshotDirectory(const RootLayout& layout, uint64_t id, Kind kind, Owner owner);

/// Puts aside every directory whose id is not in `ids`. Quick: renames only. Called under the
/// store's lock, so that no directory is being made.
Result<void> PutOrphansAside(const RootLayout& layout, const std::set<uint64_t>& ids);
/// Deletes what was put aside; goes on after an error and returns the first. Takes as long as there
/// are files.
Result<void> DeleteOrphans(const RootLayout& layout);

}  // namespace floe::snapshotter
