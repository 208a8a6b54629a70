#include "base/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/file.h"

namespace floe {
namespace {

Result<sockaddr_un> AddressOf(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof(address.sun_path)) {
    return InvalidArgument("socket path {} is longer than {} bytes", path.native(),
                           sizeof(address.sun_path) - 1);
  }
  std::ranges::copy(path.native(), address.sun_path);
  return address;
}

Result<UniqueFd> NewSocket(int type) {
  UniqueFd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!socket.valid()) {
    return ErrnoError(errno, "socket");
  }
  return socket;
}

}  // namespace

Result<UniqueFd> ConnectToUnixSocket(const std::filesystem::path& path, int type,
                                     std::chrono::milliseconds timeout) {
  FLOE_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  FLOE_ASSIGN_OR_RETURN(UniqueFd socket, NewSocket(type));
  if (timeout != kNoTimeout) {
    // Before connect(2), which waits where too many others do.
    const timeval patience{.tv_sec = timeout.count() / 1000,
                           .tv_usec = timeout.count() % 1000 * 1000};
    for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
      (void)::setsockopt(socket.get(), SOL_SOCKET, option, &patience, sizeof(patience));
    }
  }
  // sockets(7): every address family is passed as a sockaddr.
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) {
      return NotFound("nobody answers on {}", path.native());
    }
    return ErrnoError(errno, fmt::format("connect to {}", path.native()));
  }
  return socket;
}

Result<void> RemoveStaleSocket(const std::filesystem::path& path, int type) {
  FLOE_RETURN_IF_ERROR(AddressOf(path));
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) {
    return errno == ENOENT ? Ok() : Result<void>(ErrnoError(errno, path.native()));
  }
  if (!S_ISSOCK(status.st_mode)) {
    return FailedPrecondition("{} exists and is not a socket", path.native());
  }
  const auto other = ConnectToUnixSocket(path, type);
  if (other) {
    return FailedPrecondition("another process answers on {}", path.native());
  }
  if (other.error().code != ErrorCode::kNotFound) {
    return other.error();
  }
  return RemoveFile(path);
}

Result<UniqueFd> ListenOnUnixSocket(const std::filesystem::path& path, int type) {
  FLOE_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  FLOE_RETURN_IF_ERROR(RemoveStaleSocket(path, type));
  FLOE_ASSIGN_OR_RETURN(UniqueFd socket, NewSocket(type));
  constexpr int kBacklog = 16;
  // Before bind: the file has the socket's mode from its first moment.
  const int bound =
      ::fchmod(socket.get(), 0600) != 0
          ? -1
          : ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  if (bound != 0 || ::listen(socket.get(), kBacklog) != 0) {
    return ErrnoError(errno, fmt::format("listen on {}", path.native()));
  }
  return socket;
}

}  // namespace floe
