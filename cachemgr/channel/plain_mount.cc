#include "cachemgr/channel/plain_mount.h"

#include <fcntl.h>

#include "base/file.h"

namespace floe::cachemgr {

Result<dev_t> MountPlain(const MountSpec& spec, Attachment attachment) {
  FLOE_ASSIGN_OR_RETURN(const UniqueFd bootstrap, OpenFile(spec.bootstrap, O_RDONLY));
  ErofsMountSpec erofs{
      .attachment = attachment, .bootstrap_fd = bootstrap.get(), .all_plain = true};
  for (const MountDevice& device : spec.devices) {
    erofs.device_fds.push_back(device.data_fd);
  }
  return MountErofs(erofs, spec.target);
}

}  // namespace floe::cachemgr
