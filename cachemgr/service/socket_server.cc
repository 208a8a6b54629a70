#include "cachemgr/service/socket_server.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include "base/file.h"
#include "base/unix_socket.h"

namespace floe::cachemgr {
namespace {

// Requests are few and small; each may wait for the disk.
constexpr int kMaxPollers = 8;

}  // namespace

Result<std::unique_ptr<grpc::Server>> ServeOnSocket(const std::filesystem::path& address,
                                                    grpc::Service& service) {
  FLOE_RETURN_IF_ERROR(CreateDirectories(address.parent_path()));
  FLOE_RETURN_IF_ERROR(RemoveStaleSocket(address, SOCK_STREAM));
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + address.native(), grpc::InsecureServerCredentials());
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, kMaxPollers);
  builder.RegisterService(&service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) {
    return FailedPrecondition("cannot listen on {}", address.native());
  }
  // Until here it has what the umask leaves, which for the daemon is root's alone.
  if (::chmod(address.c_str(), 0600) != 0) {
    return ErrnoError(errno, "chmod " + address.native());
  }
  return server;
}

}  // namespace floe::cachemgr
