#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include "base/result.h"

/// What the clients of this folder share. Only for their .cc files: gRPC types stay in client/.
namespace floe::client {

/// A plaintext channel to a Unix socket. Messages up to 16 MiB. After a lost connection it tries
/// again within a second, so that a restarted daemon is found at once.
std::shared_ptr<grpc::Channel> ConnectUnixSocket(const std::string& path);

/// The status of a call to `peer` ("cache manager at /run/..."). gRPC's codes are ErrorCode's. When
/// nobody listens the message says so in one line.
Result<void> FromGrpc(const grpc::Status& status, const std::string& peer);

/// The call fails with DeadlineExceeded after this.
void SetTimeout(grpc::ClientContext& context, std::chrono::milliseconds timeout);

}  // namespace floe::client
