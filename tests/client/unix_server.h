#pragma once

#include <memory>
#include <string>

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "tests/support/temp_dir.h"

namespace floe::testing {

/// Serves gRPC services on a socket in a directory of its own, until the end of the scope.
class UnixServer {
 public:
  template <typename... Services>
  explicit UnixServer(Services&... services) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + address(), grpc::InsecureServerCredentials());
    (builder.RegisterService(&services), ...);
    server_ = builder.BuildAndStart();
    FLOE_CHECK(server_ != nullptr);
  }
  ~UnixServer() { server_->Shutdown(); }
  UnixServer(const UnixServer&) = delete;
  UnixServer& operator=(const UnixServer&) = delete;

  [[nodiscard]] std::string address() const { return (directory_ / "socket").native(); }

 private:
  TempDir directory_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace floe::testing
