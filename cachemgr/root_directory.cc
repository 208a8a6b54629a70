#include "cachemgr/root_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/file.h"

namespace floe::cachemgr {

Result<RootDirectory> OpenRootDirectory(const std::filesystem::path& path) {
  FLOE_RETURN_IF_ERROR(CreateDirectories(path));
  RootDirectory root;
  std::error_code error;
  root.path = std::filesystem::canonical(path, error);
  if (error) {
    return ErrnoError(error.value(), path.native());
  }
  struct stat status{};
  if (::stat(root.path.c_str(), &status) != 0) {
    return ErrnoError(errno, root.path.native());
  }
  if (status.st_uid != ::geteuid()) {
    return FailedPrecondition("{} belongs to uid {}, not to uid {}", root.path.native(),
                              status.st_uid, ::geteuid());
  }
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return FailedPrecondition("{} is open to others (mode {:04o}); chmod 0700 it",
                              root.path.native(), status.st_mode & 07777U);
  }
  FLOE_ASSIGN_OR_RETURN(root.lock, OpenFile(root.path / "lock", O_RDWR | O_CREAT));
  if (::flock(root.lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return FailedPrecondition("another cache manager uses {}", root.path.native());
    }
    return ErrnoError(errno, fmt::format("lock {}", root.path.native()));
  }
  FLOE_RETURN_IF_ERROR(CreateDirectories(root.path / "blobs"));
  FLOE_RETURN_IF_ERROR(CreateDirectories(root.path / "mounts"));
  return root;
}

}  // namespace floe::cachemgr
