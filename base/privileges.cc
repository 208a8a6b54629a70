#include "base/privileges.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

namespace floe {
namespace {

constexpr uint32_t kBitsPerWord = 32;

using CapabilityData = std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>;

bool Contains(std::span<const int> kept, int capability) {
  for (const int one : kept) {
    if (one == capability) {
      return true;
    }
  }
  return false;
}

// CAP_LAST_CAP is that of the headers; the kernel may know more, or fewer.
Result<void> DropFromBoundingSet(std::span<const int> kept) {
  for (int capability = 0;; ++capability) {
    const int bounded = ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (bounded < 0) {
      return Ok();
    }
    if (bounded == 1 && !Contains(kept, capability) &&
        ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) {
      return ErrnoError(errno, "drop a capability");
    }
  }
}

}  // namespace

Result<void> KeepCapabilities(std::span<const int> kept) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  CapabilityData data{};
  if (::syscall(SYS_capget, &header, data.data()) != 0) {
    return ErrnoError(errno, "capget");
  }
  // Only root may take from the bounding set; for others there is nothing to be gained from it.
  const uint32_t setpcap = data[0].effective & (1U << CAP_SETPCAP);
  if (setpcap != 0) {
    FLOE_RETURN_IF_ERROR(DropFromBoundingSet(kept));
  }
  CapabilityData wanted{};
  for (const int capability : kept) {
    const auto index = static_cast<uint32_t>(capability);
    wanted.at(index / kBitsPerWord).permitted |= 1U << (index % kBitsPerWord);
  }
  for (size_t i = 0; i < data.size(); ++i) {
    data[i].permitted &= wanted[i].permitted;
    data[i].effective = data[i].permitted;
    data[i].inheritable = 0;
  }
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 ||
      ::syscall(SYS_capset, &header, data.data()) != 0) {
    return ErrnoError(errno, "capset");
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return ErrnoError(errno, "no_new_privs");
  }
  return Ok();
}

}  // namespace floe
