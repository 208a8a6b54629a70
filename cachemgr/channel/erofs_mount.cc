#include "cachemgr/channel/erofs_mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "base/mutex.h"
#include "cachemgr/channel/loop_device.h"

namespace floe::cachemgr {
namespace {

// Measured against ext4 (docs/channels.md): with `directio` this read-ahead gives 0.9 to 1.2 of the
// file system's own speed; smaller ones fall behind.
constexpr const char* kPlainReadAheadKb = "4096";
constexpr int kBdiTries = 3;

// A file-system context of fsopen(2); its descriptor also carries the kernel's messages.
class MountContext {
 public:
  static Result<MountContext> Open(const char* type) {
    UniqueFd fd(::fsopen(type, FSOPEN_CLOEXEC));
    if (!fd.valid()) {
      if (errno == ENODEV) {
        return FailedPrecondition("the kernel has no {} (modprobe {} may help)", type, type);
      }
      return ErrnoError(errno, fmt::format("fsopen {}", type));
    }
    return MountContext(std::move(fd));
  }

  Result<void> SetString(const char* key, const std::string& value) {
    if (::fsconfig(fd_.get(), FSCONFIG_SET_STRING, key, value.c_str(), 0) != 0) {
      return Failure(errno, fmt::format("erofs {}={}", key, value));
    }
    return Ok();
  }
  Result<void> SetFlag(const char* key) {
    if (::fsconfig(fd_.get(), FSCONFIG_SET_FLAG, key, nullptr, 0) != 0) {
      return Failure(errno, fmt::format("erofs {}", key));
    }
    return Ok();
  }
  Result<UniqueFd> Create() {
    if (::fsconfig(fd_.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
      const int create_errno = errno;
      Error error = Failure(create_errno, "mount erofs");
      if (create_errno == ENOTBLK) {
        return FailedPrecondition("{} (no file-backed mounts: Linux 6.12 or later is needed)",
                                  error.message);
      }
      return error;
    }
    UniqueFd mount(::fsmount(fd_.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY));
    if (!mount.valid()) {
      return Failure(errno, "fsmount erofs");
    }
    return mount;
  }

 private:
  explicit MountContext(UniqueFd fd) : fd_(std::move(fd)) {}

  // What the kernel has logged into the context, one message per read(2).
  Error Failure(int error_number, const std::string& what) {
    std::string said;
    std::array<char, 512> line{};
    for (;;) {
      const ssize_t length = ::read(fd_.get(), line.data(), line.size());
      if (length <= 0) {
        break;
      }
      std::string_view text(line.data(), static_cast<size_t>(length));
      while (!text.empty() && text.back() == '\n') {
        text.remove_suffix(1);
      }
      said += fmt::format("{}{}", said.empty() ? "" : "; ", text);
    }
    Error error = ErrnoError(error_number, what);
    if (!said.empty()) {
      error.message += fmt::format(" (kernel: {})", said);
    }
    return error;
  }

  UniqueFd fd_;
};

std::string FdPath(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

// The paths that the kernel opens, and what must stay open until it has.
struct Sources {
  std::string bootstrap;
  std::vector<std::string> devices;
  std::vector<UniqueFd> held;
};

Result<Sources> FileSources(const ErofsMountSpec& spec) {
  Sources sources;
  sources.bootstrap = FdPath(spec.bootstrap_fd);
  for (const int fd : spec.device_fds) {
    sources.devices.push_back(FdPath(fd));
  }
  return sources;
}

Result<Sources> LoopSources(const ErofsMountSpec& spec) {
  Sources sources;
  FLOE_ASSIGN_OR_RETURN(LoopDevice bootstrap, AttachLoopDevice(spec.bootstrap_fd));
  sources.bootstrap = bootstrap.path;
  sources.held.push_back(std::move(bootstrap.fd));
  for (const int fd : spec.device_fds) {
    FLOE_ASSIGN_OR_RETURN(LoopDevice device, AttachLoopDevice(fd));
    sources.devices.push_back(device.path);
    sources.held.push_back(std::move(device.fd));
  }
  return sources;
}

Result<UniqueFd> CreateFrom(const Sources& sources, bool directio) {
  FLOE_ASSIGN_OR_RETURN(MountContext context, MountContext::Open("erofs"));
  // Else the kernel opens block devices for writing, which read-only loop devices refuse.
  FLOE_RETURN_IF_ERROR(context.SetFlag("ro"));
  FLOE_RETURN_IF_ERROR(context.SetString("source", sources.bootstrap));
  for (const std::string& device : sources.devices) {
    FLOE_RETURN_IF_ERROR(context.SetString("device", device));
  }
  if (directio) {
    FLOE_RETURN_IF_ERROR(context.SetFlag("directio"));
  }
  return context.Create();
}

// The backing-device entries of file-backed EROFS mounts, named "erofs-<N>". N is a counter of the
// kernel that nothing ties to the mount, so the one of a new mount is found by comparing.
std::set<std::string> ErofsBdis() {
  std::set<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it("/sys/class/bdi", error), end; !error && it != end;
       it.increment(error)) {
    if (std::string name = it->path().filename(); name.starts_with("erofs-")) {
      names.insert(std::move(name));
    }
  }
  return names;
}

Result<void> RaiseReadAhead(const std::set<std::string>& before) {
  std::vector<std::string> added;
  std::ranges::set_difference(ErofsBdis(), before, std::back_inserter(added));
  if (added.size() != 1) {
    return NotFound("{} new erofs entries in /sys/class/bdi", added.size());
  }
  FLOE_ASSIGN_OR_RETURN(
      const UniqueFd file,
      OpenFile(fmt::format("/sys/class/bdi/{}/read_ahead_kb", added.front()), O_WRONLY));
  const std::string_view value(kPlainReadAheadKb);
  if (::write(file.get(), value.data(), value.size()) < 0) {
    return ErrnoError(errno, fmt::format("write read_ahead_kb of bdi {}", added.front()));
  }
  return Ok();
}

// The mount of complete files: with directio and read-ahead, or with neither.
Result<UniqueFd> CreatePlain(const Sources& sources) {
  // Held while a mount is made, so that no other of ours appears between the two looks.
  static Mutex mutex;
  const MutexLock lock(mutex);
  Error reason;
  for (int attempt = 0; attempt < kBdiTries; ++attempt) {
    const std::set<std::string> before = ErofsBdis();
    auto direct = CreateFrom(sources, true);
    if (!direct) {
      // Kernels before 6.12.7 do not know the option, some file systems no O_DIRECT.
      reason = direct.error();
      break;
    }
    auto raised = RaiseReadAhead(before);
    if (raised) {
      return direct;
    }
    reason = raised.error();  // Another program mounts EROFS at this moment, or sysfs is read-only.
  }
  LogDebug("mount without directio reason=\"{}\"", reason.message);
  return CreateFrom(sources, false);
}

}  // namespace

Result<UniqueFd> CreateErofsMount(const ErofsMountSpec& spec) {
  const bool loop = spec.attachment == Attachment::kLoop;
  FLOE_ASSIGN_OR_RETURN(const Sources sources, loop ? LoopSources(spec) : FileSources(spec));
  return spec.all_plain && !loop ? CreatePlain(sources) : CreateFrom(sources, false);
}

Result<UniqueFd> CreateCookieMount(const std::string& fsid, const std::string& domain) {
  FLOE_ASSIGN_OR_RETURN(MountContext context, MountContext::Open("erofs"));
  FLOE_RETURN_IF_ERROR(context.SetFlag("ro"));
  for (const auto& [key, value] : {std::pair{"fsid", fsid}, std::pair{"domain_id", domain}}) {
    if (auto set = context.SetString(key, value); !set) {
      return set.error().os_errno == EINVAL
                 ? FailedPrecondition(
                       "EROFS of this kernel knows no {}= (Linux 5.19 to 7.1 with "
                       "CONFIG_EROFS_FS_ONDEMAND, domain_id= from 6.1): {}",
                       key, set.error().message)
                 : set.error();
    }
  }
  auto mount = context.Create();
  // EROFS without the on-demand mode takes the option, says so, and mounts nothing.
  if (!mount && mount.error().message.find("option not supported") != std::string::npos) {
    return FailedPrecondition("EROFS of this kernel was built without CONFIG_EROFS_FS_ONDEMAND: {}",
                              mount.error().message);
  }
  return mount;
}

Result<void> AttachMount(int mount_fd, const std::filesystem::path& target) {
  if (::move_mount(mount_fd, "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return ErrnoError(errno, fmt::format("attach the mount to {}", target.native()));
  }
  return Ok();
}

Result<dev_t> MountErofs(const ErofsMountSpec& spec, const std::filesystem::path& target) {
  FLOE_ASSIGN_OR_RETURN(const UniqueFd mount, CreateErofsMount(spec));
  struct stat status{};
  if (::fstat(mount.get(), &status) != 0) {
    return ErrnoError(errno, "fstat the mount");
  }
  FLOE_RETURN_IF_ERROR(AttachMount(mount.get(), target));
  return status.st_dev;
}

}  // namespace floe::cachemgr
