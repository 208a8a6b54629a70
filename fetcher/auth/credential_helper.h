#pragma once

#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "fetcher/auth/credential.h"

namespace floe::fetcher {

/// Runs `docker-credential-<helper> get` with the server's URL on its standard input and reads
/// {"Username", "Secret"} from its standard output. Blocks until it ends, the deadline passes or
/// `stop_fd` becomes readable (-1: never); the process is killed then. An empty credential when the
/// helper says that it has none. InvalidArgument for a helper name with a path in it;
/// FailedPrecondition when it cannot be started or fails; DeadlineExceeded; Cancelled. The calling
/// thread must have SIGPIPE blocked.
Result<Credential> RunCredentialHelper(const std::string& helper, const std::string& server_url,
                                       Deadline deadline, int stop_fd);

}  // namespace floe::fetcher
