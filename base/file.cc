#include "base/file.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <vector>

namespace floe {
namespace fs = std::filesystem;

Result<UniqueFd> OpenFile(const fs::path& path, int flags, mode_t mode) {
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) {
    return ErrnoError(errno, fmt::format("open {}", path.native()));
  }
  return UniqueFd(fd);
}

Result<std::string> ReadFile(const fs::path& path, uint64_t limit_bytes) {
  FLOE_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY));
  std::string bytes;
  std::vector<char> buffer(64UL << 10U);
  for (;;) {
    ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return ErrnoError(errno, fmt::format("read {}", path.native()));
    }
    if (count == 0) {
      return bytes;
    }
    bytes.append(buffer.data(), static_cast<size_t>(count));
    if (bytes.size() > limit_bytes) {
      return ResourceExhausted("{} is larger than {} bytes", path.native(), limit_bytes);
    }
  }
}

Result<void> PreadAll(int fd, std::span<std::byte> into, uint64_t offset) {
  while (!into.empty()) {
    ssize_t count = ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return ErrnoError(errno, "pread");
    }
    if (count == 0) {
      return OutOfRange("end of file at offset {}", offset);
    }
    into = into.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return Ok();
}

Result<void> PwriteAll(int fd, std::span<const std::byte> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    ssize_t count = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return ErrnoError(errno, "pwrite");
    }
    if (count == 0) {
      return ErrnoError(ENOSPC, "pwrite");
    }
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return Ok();
}

Result<void> SyncDirectory(const fs::path& path) {
  FLOE_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) {
    return ErrnoError(errno, fmt::format("fsync {}", path.native()));
  }
  return Ok();
}

Result<void> WriteFileAtomically(const fs::path& path, std::string_view bytes, mode_t mode) {
  std::string temporary = path.native() + ".tmp.XXXXXX";
  UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd.valid()) {
    return ErrnoError(errno, fmt::format("create {}", temporary));
  }
  auto fail = [&](Error error) {
    ::unlink(temporary.c_str());
    return error;
  };
  if (auto written = PwriteAll(fd.get(), std::as_bytes(std::span(bytes.data(), bytes.size())), 0);
      !written) {
    return fail(WithContext(written.error(), temporary));
  }
  if (::fchmod(fd.get(), mode) != 0 || ::fsync(fd.get()) != 0) {
    return fail(ErrnoError(errno, fmt::format("sync {}", temporary)));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return fail(ErrnoError(errno, fmt::format("rename {} to {}", temporary, path.native())));
  }
  return SyncDirectory(path.has_parent_path() ? path.parent_path() : fs::path("."));
}

Result<void> CreateDirectories(const fs::path& path, mode_t mode) {
  if (path.empty() || ::mkdir(path.c_str(), mode) == 0) {
    return Ok();
  }
  if (errno == ENOENT) {
    FLOE_RETURN_IF_ERROR(CreateDirectories(path.parent_path(), mode));
    if (::mkdir(path.c_str(), mode) == 0) {
      return Ok();
    }
  }
  int mkdir_errno = errno;
  std::error_code ignored;
  if (mkdir_errno == EEXIST && fs::is_directory(path, ignored)) {
    return Ok();
  }
  return ErrnoError(mkdir_errno, fmt::format("mkdir {}", path.native()));
}

namespace {

int RemoveEntry(const char* path, const struct stat* /*status*/, int /*kind*/, FTW* /*position*/) {
  return ::remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

}  // namespace

Result<std::vector<std::string>> ListDirectory(const fs::path& directory) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().native());
  }
  if (error) {
    return ErrnoError(error.value(), "read " + directory.native());
  }
  return names;
}

Result<void> RemoveTree(const fs::path& path) {
  static constexpr int kOpenDirectories = 32;
  if (::nftw(path.c_str(), RemoveEntry, kOpenDirectories, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0 &&
      errno != ENOENT) {
    return ErrnoError(errno, fmt::format("remove {}", path.native()));
  }
  return Ok();
}

Result<void> RemoveFile(const fs::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return ErrnoError(errno, fmt::format("unlink {}", path.native()));
  }
  return Ok();
}

}  // namespace floe
