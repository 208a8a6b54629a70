#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/digest.h"
#include "tests/support/fake_registry.h"

namespace floe::testing {

/// What the fake registry would answer if nothing went wrong. Only for its own two files.
struct FakeRegistry::Answer {
  int status = 200;
  std::map<std::string, std::string> headers = {};
  std::shared_ptr<const std::string> body = std::make_shared<const std::string>();
  bool ranges = false;  ///< The Range header counts.
  /// A redirect to the other host is signed without holding this registry's lock.
  std::optional<Digest> redirect_blob = {};

  /// A JSON error as the distribution spec has it.
  static Answer Failure(int status, const std::string& code);
};

}  // namespace floe::testing
