#pragma once

#include <chrono>
#include <filesystem>

#include "base/result.h"
#include "base/unique_fd.h"

namespace floe {

inline constexpr std::chrono::milliseconds kNoTimeout{0};

/// `type`: SOCK_STREAM, ... `timeout` is for the connection and for each send and receive after it.
/// NotFound: nobody answers there. InvalidArgument: too long a path.
Result<UniqueFd> ConnectToUnixSocket(const std::filesystem::path& path, int type,
                                     std::chrono::milliseconds timeout = kNoTimeout);
/// Removes a socket that nobody answers on any more; a missing one is fine. FailedPrecondition:
/// somebody does, or it is no socket.
Result<void> RemoveStaleSocket(const std::filesystem::path& path, int type);
/// RemoveStaleSocket, then a listening socket that only its owner may connect to.
Result<UniqueFd> ListenOnUnixSocket(const std::filesystem::path& path, int type);

}  // namespace floe
