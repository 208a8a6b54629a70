#include "cachemgr/service/grpc_status.h"

namespace floe::cachemgr {

static_assert(static_cast<int>(ErrorCode::kCancelled) == grpc::StatusCode::CANCELLED);
static_assert(static_cast<int>(ErrorCode::kUnknown) == grpc::StatusCode::UNKNOWN);
static_assert(static_cast<int>(ErrorCode::kInvalidArgument) == grpc::StatusCode::INVALID_ARGUMENT);
static_assert(static_cast<int>(ErrorCode::kDeadlineExceeded) ==
              grpc::StatusCode::DEADLINE_EXCEEDED);
static_assert(static_cast<int>(ErrorCode::kNotFound) == grpc::StatusCode::NOT_FOUND);
static_assert(static_cast<int>(ErrorCode::kAlreadyExists) == grpc::StatusCode::ALREADY_EXISTS);
static_assert(static_cast<int>(ErrorCode::kPermissionDenied) ==
              grpc::StatusCode::PERMISSION_DENIED);
static_assert(static_cast<int>(ErrorCode::kResourceExhausted) ==
              grpc::StatusCode::RESOURCE_EXHAUSTED);
static_assert(static_cast<int>(ErrorCode::kFailedPrecondition) ==
              grpc::StatusCode::FAILED_PRECONDITION);
static_assert(static_cast<int>(ErrorCode::kAborted) == grpc::StatusCode::ABORTED);
static_assert(static_cast<int>(ErrorCode::kOutOfRange) == grpc::StatusCode::OUT_OF_RANGE);
static_assert(static_cast<int>(ErrorCode::kUnimplemented) == grpc::StatusCode::UNIMPLEMENTED);
static_assert(static_cast<int>(ErrorCode::kInternal) == grpc::StatusCode::INTERNAL);
static_assert(static_cast<int>(ErrorCode::kUnavailable) == grpc::StatusCode::UNAVAILABLE);
static_assert(static_cast<int>(ErrorCode::kDataLoss) == grpc::StatusCode::DATA_LOSS);
static_assert(static_cast<int>(ErrorCode::kUnauthenticated) == grpc::StatusCode::UNAUTHENTICATED);

grpc::Status ToGrpcStatus(const Error& error) {
  return {static_cast<grpc::StatusCode>(error.code), error.message};
}

}  // namespace floe::cachemgr
