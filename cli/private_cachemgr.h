#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace floe::cli {

/// The cache manager that `floe mount` runs for itself where the caller names none: one for each
/// root directory, alive as long as it has mounts. It serves <root>/cachemgr.sock, keeps its cache
/// in <root>/cache and writes <root>/cachemgr.log.
class PrivateCachemgr {
 public:
  explicit PrivateCachemgr(std::filesystem::path root) : root_(std::move(root)) {}

  [[nodiscard]] std::string address() const { return (root_ / "cachemgr.sock").native(); }

  /// Held while a command starts, uses or ends the cache manager, so that two commands do not work
  /// against each other. Waits.
  [[nodiscard]] Result<UniqueFd> Lock() const;
  /// Starts one where none answers, from the directory of this program, and returns when it does.
  /// `channel`: empty for the default; means nothing to one that runs already.
  [[nodiscard]] Result<void> EnsureRunning(const std::string& channel) const;
  /// Ends it, when it runs and has no mount left; returns when it is gone.
  [[nodiscard]] Result<void> StopWhenIdle() const;

 private:
  [[nodiscard]] Result<void> Start(const std::string& channel) const;

  const std::filesystem::path root_;
};

}  // namespace floe::cli
