#include "snapshotter/service/server.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "base/file.h"
#include "base/unix_socket.h"
#include "snapshotter/service/snapshots_service.h"

namespace floe::snapshotter {
namespace {

constexpr int kMaxMessageBytes = 16 << 20;  // What containerd allows.
// A Prepare may wait for a registry, so there are more threads than cores; past this calls are
// refused with RESOURCE_EXHAUSTED.
constexpr int kMaxThreads = 64;
constexpr int kMaxPollers = 4;
constexpr std::chrono::seconds kShutdownGrace{5};

}  // namespace

Result<UniqueFd> LockRoot(const std::filesystem::path& lock_file) {
  FLOE_ASSIGN_OR_RETURN(UniqueFd lock, OpenFile(lock_file, O_RDWR | O_CREAT));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return FailedPrecondition("another process uses {}", lock_file.parent_path().native());
    }
    return ErrnoError(errno, "lock " + lock_file.native());
  }
  return lock;
}

Server::Server(std::string address, std::unique_ptr<grpc::Service> service)
    : address_(std::move(address)), service_(std::move(service)) {}

Result<std::unique_ptr<Server>> Server::Start(const std::string& address,
                                              Snapshotter& snapshotter) {
  FLOE_RETURN_IF_ERROR(RemoveStaleSocket(address, SOCK_STREAM));
  // containerd waits for a socket that is not there, but gives up for a while on one that is bound
  // and does not listen yet. So it gets its name when it listens.
  const std::string unready = address + "~";
  FLOE_RETURN_IF_ERROR(RemoveStaleSocket(unready, SOCK_STREAM));
  std::unique_ptr<Server> server(new Server(address, MakeSnapshotsService(snapshotter)));
  grpc::ServerBuilder builder;
  grpc::ResourceQuota quota("snapshotter");
  quota.SetMaxThreads(kMaxThreads);
  builder.SetResourceQuota(quota)
      .SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1)
      .SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, kMaxPollers)
      .SetMaxReceiveMessageSize(kMaxMessageBytes)
      .SetMaxSendMessageSize(kMaxMessageBytes)
      .AddListeningPort("unix:" + unready, grpc::InsecureServerCredentials())
      .RegisterService(server->service_.get());
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr) {
    return Unavailable("cannot listen on {}", address);
  }
  if (::chmod(unready.c_str(), S_IRUSR | S_IWUSR) != 0 ||
      ::rename(unready.c_str(), address.c_str()) != 0) {
    return ErrnoError(errno, "make socket " + address);
  }
  return server;
}

Server::~Server() {
  if (server_ != nullptr) {
    server_->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
    (void)RemoveFile(address_);
  }
}

}  // namespace floe::snapshotter
