#include "tests/support/disk_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <set>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/file.h"

namespace floe::testing {
namespace {

namespace fs = std::filesystem;
using Operation = DiskLog::Operation;
using Kind = Operation::Kind;

constexpr uint64_t kSectorBytes = 512;

DiskLog* active = nullptr;

bool IsOfNames(Kind kind) { return kind == Kind::kName || kind == Kind::kUnname; }

void Store(std::string& contents, uint64_t offset, std::string_view bytes) {
  contents.resize(std::max<uint64_t>(contents.size(), offset + bytes.size()));
  contents.replace(offset, bytes.size(), bytes);
}

void Apply(const Operation& operation, DiskState& state) {
  switch (operation.kind) {
    case Kind::kName:
      state.names[operation.name] = operation.inode;
      (void)state.contents[operation.inode];
      return;
    case Kind::kUnname:
      state.names.erase(operation.name);
      return;
    case Kind::kTruncate:
      state.contents[operation.inode].resize(operation.offset);
      return;
    case Kind::kExtend: {
      std::string& contents = state.contents[operation.inode];
      contents.resize(std::max<uint64_t>(contents.size(), operation.offset));
      return;
    }
    case Kind::kWrite:
      Store(state.contents[operation.inode], operation.offset, operation.bytes);
      return;
    case Kind::kSync:
    case Kind::kSyncDirectory:
      return;
  }
}

void ApplyTorn(const Operation& write, DiskState& state, const std::function<bool()>& keep) {
  std::string_view bytes = write.bytes;
  uint64_t offset = write.offset;
  while (!bytes.empty()) {
    const uint64_t length = std::min(bytes.size(), kSectorBytes - offset % kSectorBytes);
    if (keep()) {
      Store(state.contents[write.inode], offset, bytes.substr(0, length));
    }
    bytes.remove_prefix(length);
    offset += length;
  }
}

fs::path OtherName(const fs::path& inodes, uint64_t inode) {
  return inodes / std::to_string(inode);
}

}  // namespace

DiskLog* DiskLog::Active() { return active; }

DiskLog::DiskLog(fs::path directory, fs::path inodes, DiskState before)
    : directory_(std::move(directory)), inodes_(std::move(inodes)), before_(std::move(before)) {
  FLOE_CHECK(active == nullptr);
  Restore(before_, directory_, inodes_);
  struct stat status{};
  FLOE_CHECK(::stat(directory_.c_str(), &status) == 0);
  directory_inode_ = status.st_ino;
  for (const auto& [inode, contents] : before_.contents) {
    known_[inode] = true;
  }
  active = this;
}

void DiskLog::Stop() {
  if (active == this) {
    active = nullptr;
  }
}

bool DiskLog::IsInside(const fs::path& path) const { return path.parent_path() == directory_; }

void DiskLog::Created(const fs::path& path, uint64_t inode) {
  known_[inode] = true;
  ::unlink(OtherName(inodes_, inode).c_str());
  FLOE_CHECK(::link(path.c_str(), OtherName(inodes_, inode).c_str()) == 0);
  Record({.kind = Kind::kName, .name = path.filename(), .inode = inode});
}

DiskState DiskLog::Killed(size_t count) const {
  DiskState state = before_;
  for (const Operation& operation : std::span(operations_).first(count)) {
    Apply(operation, state);
  }
  return state;
}

DiskState DiskLog::PowerCut(size_t count, const std::function<bool()>& keep,
                            bool syncs_count) const {
  // Backwards: what is synced later on.
  std::set<uint64_t> synced;
  bool names_synced = false;
  std::vector<bool> durable(count, false);
  for (size_t i = count; i-- > 0;) {
    const Operation& operation = operations_[i];
    if (syncs_count && operation.kind == Kind::kSync) {
      synced.insert(operation.inode);
    } else if (syncs_count && operation.kind == Kind::kSyncDirectory) {
      names_synced = true;
    } else {
      durable[i] = IsOfNames(operation.kind) ? names_synced : synced.contains(operation.inode);
    }
  }
  DiskState state = before_;
  for (size_t i = 0; i < count; ++i) {
    const Operation& operation = operations_[i];
    if (durable[i]) {
      Apply(operation, state);
    } else if (operation.kind == Kind::kWrite) {
      ApplyTorn(operation, state, keep);
    } else if (keep()) {
      Apply(operation, state);
    }
  }
  return state;
}

void DiskLog::Restore(const DiskState& state, const fs::path& directory, const fs::path& inodes) {
  FLOE_CHECK(active == nullptr);
  for (const auto& entry : fs::directory_iterator(directory)) {
    fs::remove(entry.path());
  }
  for (const auto& [name, inode] : state.names) {
    fs::create_hard_link(OtherName(inodes, inode), directory / name);
    const auto found = state.contents.find(inode);
    const std::string contents = found == state.contents.end() ? "" : found->second;
    auto fd = OpenFile(directory / name, O_WRONLY);
    FLOE_CHECK(fd.has_value());
    FLOE_CHECK(::ftruncate(fd->get(), 0) == 0);
    FLOE_CHECK(::ftruncate(fd->get(), static_cast<off_t>(contents.size())) == 0);
    FLOE_CHECK(PwriteAll(fd->get(), std::as_bytes(std::span(contents)), 0).has_value());
  }
}

}  // namespace floe::testing

// --- the wrapped system calls ---

using floe::testing::DiskLog;
using Kind = DiskLog::Operation::Kind;

namespace {

struct stat StatusOf(int fd) {
  struct stat status{};
  (void)::fstat(fd, &status);
  return status;
}

// The log, when the descriptor is of one of its files.
DiskLog* LogOf(int fd) {
  DiskLog* log = DiskLog::Active();
  return log != nullptr && log->Knows(StatusOf(fd).st_ino) ? log : nullptr;
}

}  // namespace

extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): the linker's names.
int __real_open(const char* path, int flags, ...);
int __real_mkostemp(char* path, int flags);
ssize_t __real_pwrite(int fd, const void* bytes, size_t count, off_t offset);
int __real_ftruncate(int fd, off_t size);
int __real_posix_fallocate(int fd, off_t offset, off_t length);
int __real_fdatasync(int fd);
int __real_fsync(int fd);
int __real_rename(const char* from, const char* to);
int __real_unlink(const char* path);

int __wrap_open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  DiskLog* log = DiskLog::Active();
  const bool makes =
      log != nullptr && (flags & O_CREAT) != 0 && log->IsInside(path) && ::access(path, F_OK) != 0;
  const int fd = __real_open(path, flags, mode);
  if (makes && fd >= 0) {
    log->Created(path, StatusOf(fd).st_ino);
  }
  return fd;
}

int __wrap_mkostemp(char* path, int flags) {
  const int fd = __real_mkostemp(path, flags);
  if (DiskLog* log = DiskLog::Active(); log != nullptr && fd >= 0 && log->IsInside(path)) {
    log->Created(path, StatusOf(fd).st_ino);
  }
  return fd;
}

ssize_t __wrap_pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  const ssize_t written = __real_pwrite(fd, bytes, count, offset);
  if (DiskLog* log = LogOf(fd); log != nullptr && written > 0) {
    log->Record({.kind = Kind::kWrite,
                 .inode = StatusOf(fd).st_ino,
                 .offset = static_cast<uint64_t>(offset),
                 .bytes = {static_cast<const char*>(bytes), static_cast<size_t>(written)}});
  }
  return written;
}

int __wrap_ftruncate(int fd, off_t size) {
  const int outcome = __real_ftruncate(fd, size);
  if (DiskLog* log = LogOf(fd); log != nullptr && outcome == 0) {
    log->Record({.kind = Kind::kTruncate,
                 .inode = StatusOf(fd).st_ino,
                 .offset = static_cast<uint64_t>(size)});
  }
  return outcome;
}

int __wrap_posix_fallocate(int fd, off_t offset, off_t length) {
  const int outcome = __real_posix_fallocate(fd, offset, length);
  if (DiskLog* log = LogOf(fd); log != nullptr && outcome == 0) {
    log->Record({.kind = Kind::kExtend,
                 .inode = StatusOf(fd).st_ino,
                 .offset = static_cast<uint64_t>(offset + length)});
  }
  return outcome;
}

int __wrap_fdatasync(int fd) {
  if (DiskLog* log = LogOf(fd); log != nullptr) {
    log->Record({.kind = Kind::kSync, .inode = StatusOf(fd).st_ino});
    return 0;  // The simulation needs no disk.
  }
  return __real_fdatasync(fd);
}

int __wrap_fsync(int fd) {
  DiskLog* log = DiskLog::Active();
  if (log != nullptr && log->IsDirectory(StatusOf(fd).st_ino)) {
    log->Record({.kind = Kind::kSyncDirectory});
    return 0;
  }
  return LogOf(fd) != nullptr ? __wrap_fdatasync(fd) : __real_fsync(fd);
}

int __wrap_rename(const char* from, const char* to) {
  DiskLog* log = DiskLog::Active();
  struct stat status{};
  const bool ours = log != nullptr && log->IsInside(from) && ::stat(from, &status) == 0;
  const int outcome = __real_rename(from, to);
  if (ours && outcome == 0) {
    if (log->IsInside(to)) {
      log->Record({.kind = Kind::kName,
                   .name = std::filesystem::path(to).filename(),
                   .inode = status.st_ino});
    }
    log->Record({.kind = Kind::kUnname, .name = std::filesystem::path(from).filename()});
  }
  return outcome;
}

int __wrap_unlink(const char* path) {
  DiskLog* log = DiskLog::Active();
  const int outcome = __real_unlink(path);
  if (log != nullptr && outcome == 0 && log->IsInside(path)) {
    log->Record({.kind = Kind::kUnname, .name = std::filesystem::path(path).filename()});
  }
  return outcome;
}
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
}
