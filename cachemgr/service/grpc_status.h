#pragma once

#include <grpcpp/support/status.h>

#include "base/result.h"

namespace floe::cachemgr {

/// Error to grpc::Status: the codes are the same numbers, the message goes along.
grpc::Status ToGrpcStatus(const Error& error);
inline grpc::Status ToGrpcStatus(const Result<void>& result) {
  return result ? grpc::Status::OK : ToGrpcStatus(result.error());
}

}  // namespace floe::cachemgr
