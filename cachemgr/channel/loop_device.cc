#include "cachemgr/channel/loop_device.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "base/file.h"

namespace floe::cachemgr {
namespace {

// Between LOOP_CTL_GET_FREE and LOOP_CONFIGURE another process may take the same device.
constexpr int kMaxTries = 64;

}  // namespace

Result<LoopDevice> AttachLoopDevice(int file_fd) {
  auto control = OpenFile("/dev/loop-control", O_RDWR);
  if (!control) {
    return FailedPrecondition("no loop devices: {}", control.error().message);
  }
  for (int attempt = 0; attempt < kMaxTries; ++attempt) {
    const int number = ::ioctl(control->get(), LOOP_CTL_GET_FREE);
    if (number < 0) {
      return ErrnoError(errno, "find a free loop device");
    }
    LoopDevice device;
    device.path = fmt::format("/dev/loop{}", number);
    FLOE_ASSIGN_OR_RETURN(device.fd, OpenFile(device.path, O_RDONLY));
    loop_config config{};
    config.fd = static_cast<uint32_t>(file_fd);
    config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
    if (::ioctl(device.fd.get(), LOOP_CONFIGURE, &config) == 0) {
      return device;
    }
    if (errno != EBUSY) {
      return ErrnoError(errno, fmt::format("configure {}", device.path));
    }
  }
  return FailedPrecondition("no free loop device after {} tries", kMaxTries);
}

}  // namespace floe::cachemgr
