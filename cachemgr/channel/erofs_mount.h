#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace floe::cachemgr {

/// What the kernel's EROFS reads from.
enum class Attachment : uint8_t {
  kFile,  ///< Files themselves (file-backed mounts, Linux 6.12).
  kLoop,  ///< A loop device over each file (Linux 5.16: the first with extra devices).
};

struct ErofsMountSpec {
  Attachment attachment = Attachment::kFile;
  int bootstrap_fd = -1;             ///< Open for reading; only for the duration of the call.
  std::vector<int> device_fds = {};  ///< The same, in slot order.
  /// All files are local and complete: `directio` and a large read-ahead (kFile only). The two make
  /// cold sequential reads as fast as the file system's own; either one alone makes them slower.
  bool all_plain = false;
};

/// Makes a read-only EROFS mount that is attached nowhere yet, with fsopen(2) and friends; it
/// vanishes when the descriptor is closed unless AttachMount was called. The error holds what the
/// kernel said. FailedPrecondition: this kernel has no EROFS, or none of this attachment.
Result<UniqueFd> CreateErofsMount(const ErofsMountSpec& spec);
/// The same over fscache: bootstrap and devices are cookies, the devices named by the tags in the
/// bootstrap's device table (Linux 5.19 to 7.1). AlreadyExists or EBUSY: the fsid is mounted.
/// FailedPrecondition: EROFS does not know `fsid=`.
Result<UniqueFd> CreateCookieMount(const std::string& fsid, const std::string& domain);
/// Moves a mount onto an existing directory, visible to all who share the target's mount namespace
/// or receive its propagation.
Result<void> AttachMount(int mount_fd, const std::filesystem::path& target);
/// CreateErofsMount and AttachMount. Returns the st_dev of the mount.
Result<dev_t> MountErofs(const ErofsMountSpec& spec, const std::filesystem::path& target);

}  // namespace floe::cachemgr
