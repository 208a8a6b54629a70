#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace floe::fetcher {

/// The system's certificates and those of one more file, as one file in memory.
struct CaBundle {
  UniqueFd memory;
  /// A path for CURLOPT_CAINFO, valid while `memory` is open; empty: the system's alone will do.
  std::string path;

  /// `ca_file` may be empty. InvalidArgument when it holds no PEM certificate.
  static Result<CaBundle> Make(const std::string& ca_file);
};

}  // namespace floe::fetcher
