#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "snapshotter/snapshots.h"

namespace grpc {
class Server;
class Service;
}  // namespace grpc

namespace floe::snapshotter {

/// Takes the lock file of a root for the life of the descriptor. FailedPrecondition when another
/// process has it.
Result<UniqueFd> LockRoot(const std::filesystem::path& lock_file);

/// The gRPC server on a root-only Unix socket (mode 0600). Stops at the end of its scope, after the
/// calls that run have had a few seconds.
class Server {
 public:
  /// Replaces a socket that nobody answers on. FailedPrecondition when somebody does. The
  /// snapshotter must outlive the server.
  static Result<std::unique_ptr<Server>> Start(const std::string& address,
                                               Snapshotter& snapshotter);
  ~Server();

 private:
  Server(std::string address, std::unique_ptr<grpc::Service> service);

  const std::string address_;
  const std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace floe::snapshotter
