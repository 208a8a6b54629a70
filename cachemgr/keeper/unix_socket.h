#pragma once

#include <filesystem>

#include "base/result.h"
#include "base/unique_fd.h"

namespace floe::cachemgr {

/// A listening SOCK_SEQPACKET socket at `path`, mode 0600 by the umask, in place of one that nobody
/// answers on any more. FailedPrecondition: somebody does.
Result<UniqueFd> ListenOnUnixSocket(const std::filesystem::path& path);
/// NotFound: nobody answers there.
Result<UniqueFd> ConnectToUnixSocket(const std::filesystem::path& path);

}  // namespace floe::cachemgr
