#include "cachemgr/keeper/unix_socket.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace floe::cachemgr {
namespace {

Result<sockaddr_un> AddressOf(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof(address.sun_path)) {
    return InvalidArgument("{} is too long for a Unix socket ({} bytes at most)", path.native(),
                           sizeof(address.sun_path) - 1);
  }
  std::ranges::copy(path.native(), address.sun_path);
  return address;
}

Result<UniqueFd> NewSocket() {
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket.valid()) {
    return ErrnoError(errno, "socket");
  }
  return socket;
}

}  // namespace

Result<UniqueFd> ConnectToUnixSocket(const std::filesystem::path& path) {
  FLOE_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  FLOE_ASSIGN_OR_RETURN(UniqueFd socket, NewSocket());
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) {
      return NotFound("nobody answers on {}", path.native());
    }
    return ErrnoError(errno, fmt::format("connect to {}", path.native()));
  }
  return socket;
}

Result<UniqueFd> ListenOnUnixSocket(const std::filesystem::path& path) {
  FLOE_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  if (auto other = ConnectToUnixSocket(path); other) {
    return FailedPrecondition("another process answers on {}", path.native());
  } else if (other.error().code != ErrorCode::kNotFound) {
    return other.error();
  }
  ::unlink(path.c_str());
  FLOE_ASSIGN_OR_RETURN(UniqueFd socket, NewSocket());
  constexpr int kBacklog = 16;
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(socket.get(), kBacklog) != 0) {
    return ErrnoError(errno, fmt::format("listen on {}", path.native()));
  }
  return socket;
}

}  // namespace floe::cachemgr
