#include "cachemgr/service/socket_server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include "base/file.h"
#include "base/unique_fd.h"

namespace floe::cachemgr {
namespace {

// Requests are few and small; each may wait for the disk.
constexpr int kMaxPollers = 8;

Result<sockaddr_un> SocketAddress(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof(address.sun_path)) {
    return InvalidArgument("socket path {} is longer than {} bytes", path.native(),
                           sizeof(address.sun_path) - 1);
  }
  std::memcpy(address.sun_path, path.c_str(), path.native().size());
  return address;
}

Result<void> RemoveStaleSocket(const std::filesystem::path& path) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) {
    return errno == ENOENT ? Ok() : Result<void>(ErrnoError(errno, path.native()));
  }
  if (!S_ISSOCK(status.st_mode)) {
    return FailedPrecondition("{} exists and is not a socket", path.native());
  }
  FLOE_ASSIGN_OR_RETURN(const sockaddr_un address, SocketAddress(path));
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!probe.valid()) {
    return ErrnoError(errno, "socket");
  }
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return FailedPrecondition("another program answers on {}", path.native());
  }
  return RemoveFile(path);
}

}  // namespace

Result<std::unique_ptr<grpc::Server>> ServeOnSocket(const std::filesystem::path& address,
                                                    grpc::Service& service) {
  FLOE_RETURN_IF_ERROR(SocketAddress(address));
  FLOE_RETURN_IF_ERROR(CreateDirectories(address.parent_path()));
  FLOE_RETURN_IF_ERROR(RemoveStaleSocket(address));
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + address.native(), grpc::InsecureServerCredentials());
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, kMaxPollers);
  builder.RegisterService(&service);
  // gRPC makes the socket with the process's umask; nobody else may connect, not even for a moment.
  const mode_t old_mask = ::umask(0177);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ::umask(old_mask);
  if (server == nullptr) {
    return FailedPrecondition("cannot listen on {}", address.native());
  }
  return server;
}

}  // namespace floe::cachemgr
