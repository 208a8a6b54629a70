#include "snapshotter/snapshot_dirs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/quote.h"
#include "snapshotter/labels.h"

namespace floe::snapshotter {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kRootMode = 0755;  // The root of a container's file system.
constexpr mode_t kWorkMode = 0711;
constexpr mode_t kOuterMode = 0700;
constexpr const char* kAside = "rm-";

// mkdir, and the mode whatever the umask.
Result<void> MakeDirectory(const fs::path& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) != 0 || ::chmod(path.c_str(), mode) != 0) {
    return ErrnoError(errno, "make directory " + path.native());
  }
  return Ok();
}

bool ReadNumber(std::string_view& text, uint32_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return error == std::errc();
}

bool SkipColon(std::string_view& text) {
  const bool colon = text.starts_with(':');
  text.remove_prefix(colon ? 1 : 0);
  return colon;
}

// The host id of container id 0 in "<container id>:<host id>:<size>,...".
Result<uint32_t> HostIdOfRoot(const std::string& label, std::string_view mapping) {
  std::optional<uint32_t> root;
  std::string_view rest = mapping;
  while (true) {
    uint32_t container = 0;
    uint32_t host = 0;
    uint32_t size = 0;
    if (!ReadNumber(rest, container) || !SkipColon(rest) || !ReadNumber(rest, host) ||
        !SkipColon(rest) || !ReadNumber(rest, size)) {
      return InvalidArgument("label {} is {}", label, Quote(mapping));
    }
    if (container == 0 && size > 0) {
      root = host;
    }
    if (rest.empty()) {
      break;
    }
    if (!rest.starts_with(',')) {
      return InvalidArgument("label {} is {}", label, Quote(mapping));
    }
    rest.remove_prefix(1);
  }
  return root ? Result<uint32_t>(*root)
              : Result<uint32_t>(
                    InvalidArgument("label {} does not map id 0: {}", label, Quote(mapping)));
}

}  // namespace

Result<std::optional<Owner>> MappedRoot(const Labels& labels) {
  const auto uid = labels.find(kLabelUidMapping);
  const auto gid = labels.find(kLabelGidMapping);
  if (uid == labels.end() && gid == labels.end()) {
    return std::optional<Owner>();
  }
  if (uid == labels.end() || gid == labels.end()) {
    return InvalidArgument("labels {} and {} go together", kLabelUidMapping, kLabelGidMapping);
  }
  Owner owner;
  FLOE_ASSIGN_OR_RETURN(owner.uid, HostIdOfRoot(uid->first, uid->second));
  FLOE_ASSIGN_OR_RETURN(owner.gid, HostIdOfRoot(gid->first, gid->second));
  return std::optional<Owner>(owner);
}

Result<Owner> OwnerOf(const fs::path& directory) {
  struct stat status{};
  if (::lstat(directory.c_str(), &status) != 0) {
    return ErrnoError(errno, "stat " + directory.native());
  }
  return Owner{.uid = status.st_uid, .gid = status.st_gid};
}

Result<void> MakeSnapshotDirectory(const RootLayout& layout, uint64_t id, Kind kind, Owner owner) {
  FLOE_RETURN_IF_ERROR(RemoveTree(layout.snapshot(id)));
  FLOE_RETURN_IF_ERROR(MakeDirectory(layout.snapshot(id), kOuterMode));
  FLOE_RETURN_IF_ERROR(MakeDirectory(layout.upper(id), kRootMode));
  if (::lchown(layout.upper(id).c_str(), owner.uid, owner.gid) != 0) {
    return ErrnoError(errno, "chown " + layout.upper(id).native());
  }
  return kind == Kind::kActive ? MakeDirectory(layout.work(id), kWorkMode) : Ok();
}

Result<void> PutOrphansAside(const RootLayout& layout, const std::set<uint64_t>& ids) {
  FLOE_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(layout.snapshots()));
  for (const std::string& name : names) {
    const std::optional<uint64_t> id = RootLayout::ParseId(name);
    if (name.starts_with(kAside) || (id && ids.contains(*id))) {
      continue;
    }
    const fs::path from = layout.snapshots() / name;
    if (::rename(from.c_str(), (layout.snapshots() / (kAside + name)).c_str()) != 0) {
      return ErrnoError(errno, "rename " + from.native());
    }
  }
  return Ok();
}

Result<void> DeleteOrphans(const RootLayout& layout) {
  FLOE_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(layout.snapshots()));
  Result<void> first = Ok();
  for (const std::string& name : names) {
    if (!name.starts_with(kAside)) {
      continue;
    }
    if (auto removed = RemoveTree(layout.snapshots() / name); !removed && first) {
      first = std::move(removed);
    }
  }
  return first;
}

}  // namespace floe::snapshotter
