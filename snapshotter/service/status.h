#pragma once

#include <grpcpp/support/status.h>

#include "base/error.h"

namespace floe::snapshotter {

/// Error -> grpc::Status; containerd's clients turn the code into their own errors again.
grpc::Status ToStatus(const Error& error);

}  // namespace floe::snapshotter
