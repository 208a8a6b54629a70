#pragma once

#include <filesystem>
#include <memory>

#include <grpcpp/impl/codegen/service_type.h>
#include <grpcpp/server.h>

#include "base/result.h"

namespace floe::cachemgr {

/// Serves on a Unix socket that only this user may open (0600). A socket that nobody answers on is
/// replaced. FailedPrecondition: another program answers on it, or it is not a socket.
Result<std::unique_ptr<grpc::Server>> ServeOnSocket(const std::filesystem::path& address,
                                                    grpc::Service& service);

}  // namespace floe::cachemgr
