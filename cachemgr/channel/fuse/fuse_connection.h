#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "cachemgr/channel/fuse/fuse_session.h"

namespace floe::cachemgr {

/// A mount of our file system that is attached nowhere, and the threads that answer it ("fuse-N").
/// Files are reached through the mount's descriptor only, so nothing is left behind when the
/// process dies: the kernel then fails every pending and later read with an error.
class FuseConnection {
 public:
  /// `session` must outlive this. FailedPrecondition: no /dev/fuse, or this kernel's FUSE cannot.
  static Result<std::unique_ptr<FuseConnection>> Create(FuseSession& session, unsigned readers);
  /// Ends the readers; what the kernel still has open fails from then on. Replies that are still
  /// outstanding must have been sent before.
  ~FuseConnection();
  FuseConnection(const FuseConnection&) = delete;
  FuseConnection& operator=(const FuseConnection&) = delete;

  /// Opens a file of the directory for reading. Never on a reader's thread.
  [[nodiscard]] Result<UniqueFd> Open(const std::string& name) const;

 private:
  FuseConnection(FuseSession& session, std::shared_ptr<UniqueFd> device, UniqueFd mount)
      : session_(session), device_(std::move(device)), mount_(std::move(mount)) {}
  void Serve();

  FuseSession& session_;
  const std::shared_ptr<UniqueFd> device_;  // Shared with the replies under way.
  UniqueFd mount_;
  std::vector<std::jthread> readers_;
};

}  // namespace floe::cachemgr
