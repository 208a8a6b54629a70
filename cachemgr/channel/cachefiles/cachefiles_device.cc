#include "cachemgr/channel/cachefiles/cachefiles_device.h"

#include <fcntl.h>
#include <linux/cachefiles.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/file.h"

namespace floe::cachemgr {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNeeds = "Linux 5.19 to 7.1 with CONFIG_CACHEFILES_ONDEMAND";

// "name (pid N)" of whoever has the device open.
std::string HolderOf(const fs::path& device) {
  std::error_code error;
  for (fs::directory_iterator process("/proc", error), end; !error && process != end;
       process.increment(error)) {
    const std::string pid = process->path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) {
      continue;
    }
    std::error_code gone;  // Processes end while we look.
    for (fs::directory_iterator fd(process->path() / "fd", gone), last; !gone && fd != last;
         fd.increment(gone)) {
      std::error_code unreadable;
      if (fs::read_symlink(fd->path(), unreadable) == device) {
        auto name = ReadFile(process->path() / "comm");
        const std::string comm = name ? name->substr(0, name->find('\n')) : "?";
        return fmt::format("{} (pid {})", comm, pid);
      }
    }
  }
  return "a program of another container, or a cache that is still being withdrawn";
}

// The kernel finds out only when the first image is mounted.
Result<void> TryUserXattr(const fs::path& directory) {
  constexpr const char* kName = "user.floe.probe";
  if (::setxattr(directory.c_str(), kName, "", 0, 0) == 0) {
    (void)::removexattr(directory.c_str(), kName);
    return Ok();
  }
  if (errno == EOPNOTSUPP) {
    return FailedPrecondition(
        "the file system of {} cannot hold a cache: it has no user xattrs (ext4 and xfs do)",
        directory.native());
  }
  return ErrnoError(errno, fmt::format("setxattr {}", directory.native()));
}

}  // namespace

Result<CachefilesDevice> CachefilesDevice::Open(const fs::path& path) {
  auto fd = OpenFile(path, O_RDWR | O_NONBLOCK);
  if (fd) {
    return CachefilesDevice(std::move(*fd));
  }
  switch (fd.error().os_errno) {
    case EBUSY:
      return Unavailable("{} is held by {}; cachefilesd is the usual one", path.native(),
                         HolderOf(path));
    case ENOENT:
    case ENXIO:
    case ENODEV:
      return FailedPrecondition("no {} ({}; modprobe cachefiles may help)", path.native(), kNeeds);
    default:
      return FailedPrecondition("{}", fd.error().message);
  }
}

Result<void> CachefilesDevice::Command(const std::string& command) {
  if (::write(fd_.get(), command.data(), command.size()) < 0) {
    return ErrnoError(errno, fmt::format("cachefiles: {}", command));
  }
  return Ok();
}

Result<void> CachefilesDevice::Bind(const fs::path& directory, const std::string& tag,
                                    const CullLimits& limits) {
  FLOE_RETURN_IF_ERROR(TryUserXattr(directory));
  for (const std::string& command :
       {fmt::format("dir {}", directory.native()), fmt::format("tag {}", tag)}) {
    // Given once, by a process that may have ended before it came to "bind".
    if (auto done = Command(command); !done && done.error().os_errno != EEXIST) {
      return done;
    }
  }
  constexpr unsigned kMost = 99;
  // The kernel wants stop < cull < run after every step: first as far apart as can be.
  for (const char kind : {'b', 'f'}) {
    for (const auto& [name, percent] :
         {std::pair{"stop", 0U}, std::pair{"run", kMost}, std::pair{"cull", limits.cull_percent},
          std::pair{"run", limits.run_percent}, std::pair{"stop", limits.stop_percent}}) {
      FLOE_RETURN_IF_ERROR(Command(fmt::format("{}{} {}%", kind, name, percent)));
    }
  }
  auto bound = Command("bind ondemand");
  if (bound) {
    return bound;
  }
  switch (bound.error().os_errno) {
    case EBUSY:
      return AlreadyExists("/dev/cachefiles is bound already");
    case EINVAL:
      return FailedPrecondition("cachefiles has no on-demand mode in this kernel ({})", kNeeds);
    case EOPNOTSUPP:
    case EPERM:
    case EROFS:
      return FailedPrecondition(
          "the file system of {} cannot hold a cache: it lacks xattrs, O_TMPFILE or is read-only "
          "(ext4 and xfs can)",
          directory.native());
    default:
      return bound;
  }
}

Result<void> CachefilesDevice::Restore() {
  auto done = Command("restore");
  if (!done && done.error().os_errno == EOPNOTSUPP) {
    return Unimplemented("cachefiles of this kernel has no restore (Linux 6.8)");
  }
  return done;
}

Result<std::optional<CachefilesMessage>> CachefilesDevice::Next() {
  std::array<std::byte, CACHEFILES_MSG_MAX_SIZE> buffer{};
  ssize_t length = 0;
  do {
    length = ::read(fd_.get(), buffer.data(), buffer.size());
  } while (length < 0 && errno == EINTR);
  if (length < 0) {
    return ErrnoError(errno, "read /dev/cachefiles");
  }
  if (length == 0) {
    return std::nullopt;
  }
  FLOE_ASSIGN_OR_RETURN(
      CachefilesMessage message,
      ParseCachefilesMessage(std::span(buffer).first(static_cast<size_t>(length))));
  return message;
}

Result<void> CachefilesDevice::CompleteOpen(uint32_t message, uint64_t size_bytes) {
  return Command(fmt::format("copen {},{}", message, size_bytes));
}

Result<void> CachefilesDevice::RefuseOpen(uint32_t message, int error_number) {
  return Command(fmt::format("copen {},{}", message, -error_number));
}

Result<bool> CachefilesDevice::Cull(const std::string& name) {
  auto done = Command(fmt::format("cull {}", name));
  if (done || done.error().os_errno == ESTALE) {  // ESTALE: gone already.
    return true;
  }
  if (done.error().os_errno == EBUSY) {
    return false;
  }
  return done.error();
}

Result<bool> CachefilesDevice::IsInUse(const std::string& name) {
  auto done = Command(fmt::format("inuse {}", name));
  if (done) {
    return false;
  }
  if (done.error().os_errno == EBUSY) {
    return true;
  }
  return done.error();
}

}  // namespace floe::cachemgr
