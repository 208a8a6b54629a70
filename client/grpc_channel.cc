#include "client/grpc_channel.h"

#include <algorithm>

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

namespace floe::client {
namespace {

constexpr int kMaxMessageBytes = 16 << 20;  // What containerd allows.
// The minimum of gRPC's own is left alone: it is also the time that one attempt may take.
constexpr int kFirstBackoffMs = 50;
constexpr int kMaxBackoffMs = 1000;

/// Messages of other programs may hold line breaks; ours are one line.
std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

std::shared_ptr<grpc::Channel> ConnectUnixSocket(const std::string& path) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstBackoffMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxBackoffMs);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // A socket's path is no host name; Go servers refuse it as one.
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  return grpc::CreateCustomChannel("unix:" + path, grpc::InsecureChannelCredentials(), arguments);
}

Result<void> FromGrpc(const grpc::Status& status, const std::string& peer) {
  if (status.ok()) {
    return Ok();
  }
  const int code = static_cast<int>(status.error_code());
  const bool known = code >= static_cast<int>(ErrorCode::kCancelled) &&
                     code <= static_cast<int>(ErrorCode::kUnauthenticated);
  Error error{known ? static_cast<ErrorCode>(code) : ErrorCode::kUnknown,
              OneLine(status.error_message())};
  if (error.code == ErrorCode::kUnavailable &&
      error.message.find("failed to connect") != std::string::npos) {
    return Unavailable("nobody answers: {}", peer);
  }
  return WithContext(std::move(error), peer);
}

void SetTimeout(grpc::ClientContext& context, std::chrono::milliseconds timeout) {
  context.set_deadline(std::chrono::system_clock::now() + timeout);
}

}  // namespace floe::client
