#include "cachemgr/keeper/keeper_protocol.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace floe::cachemgr {
namespace {

// Room for one descriptor, aligned as cmsg(3) wants it; its padding may bring another.
struct alignas(cmsghdr) Control {
  std::array<char, CMSG_SPACE(sizeof(int))> bytes = {};
};

// Takes possession of every descriptor beside a packet: the first is the packet's.
UniqueFd TakeDescriptor(msghdr& header) {
  UniqueFd taken;
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    for (size_t at = CMSG_LEN(0); at + sizeof(int) <= part->cmsg_len; at += sizeof(int)) {
      UniqueFd fd(*reinterpret_cast<const int*>(reinterpret_cast<const std::byte*>(part) + at));
      if (!taken.valid()) {
        taken = std::move(fd);
      }
    }
  }
  return taken;
}

}  // namespace

std::string_view KeeperMessage::name() const {
  return {name_z.data(), ::strnlen(name_z.data(), name_z.size())};
}

bool KeeperMessage::set_name(std::string_view name) {
  if (name.empty() || name.size() >= name_z.size()) {
    return false;
  }
  name_z.fill('\0');
  std::ranges::copy(name, name_z.begin());
  return true;
}

bool SendKeeperPacket(int socket, const KeeperMessage& message, int fd, int flags) {
  KeeperMessage copy = message;
  iovec part{.iov_base = &copy, .iov_len = sizeof(copy)};
  Control control;
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (fd >= 0) {
    header.msg_control = control.bytes.data();
    header.msg_controllen = control.bytes.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(fd));
    std::memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
  }
  for (;;) {
    if (::sendmsg(socket, &header, flags | MSG_NOSIGNAL) >= 0) {
      return true;
    }
    if (errno != EINTR) {
      return false;
    }
  }
}

std::optional<KeeperPacket> ReceiveKeeperPacket(int socket, int flags) {
  KeeperPacket packet;
  iovec part{.iov_base = &packet.message, .iov_len = sizeof(packet.message)};
  Control control;
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.bytes.data();
  header.msg_controllen = control.bytes.size();
  ssize_t length = 0;
  do {
    length = ::recvmsg(socket, &header, flags | MSG_CMSG_CLOEXEC);
  } while (length < 0 && errno == EINTR);
  if (length < 0) {
    return std::nullopt;
  }
  packet.fd = TakeDescriptor(header);  // Also beside a packet of no bytes.
  if (length == 0) {
    errno = ECONNRESET;
    return std::nullopt;
  }
  if ((header.msg_flags & MSG_CTRUNC) != 0) {
    errno = EMFILE;
    return std::nullopt;
  }
  if (length != sizeof(KeeperMessage) || (header.msg_flags & MSG_TRUNC) != 0 ||
      packet.message.version != kKeeperVersion || packet.message.name_z.back() != '\0') {
    errno = EPROTO;
    return std::nullopt;
  }
  return packet;
}

}  // namespace floe::cachemgr
