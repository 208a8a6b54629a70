#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "cachemgr/channel/fuse/fuse_session.h"

namespace floe::cachemgr {

/// What a connection is in the kernel, and all that a successor needs of it.
struct FuseHandles {
  UniqueFd device;  ///< /dev/fuse, bound to the mount.
  UniqueFd mount;   ///< A mount that is attached nowhere.
};

/// A mount of our file system that is attached nowhere, and the threads that answer it ("fuse-N").
/// Files are reached through the mount's descriptor only, so nothing is left behind when the last
/// process that holds the handles dies: the kernel then fails every pending and later read.
class FuseConnection {
 public:
  /// `session` must outlive this. FailedPrecondition: no /dev/fuse, or this kernel's FUSE cannot.
  static Result<std::unique_ptr<FuseConnection>> Create(FuseSession& session, unsigned readers);
  /// Goes on with a former process's handles; answers nothing before Resume.
  static std::unique_ptr<FuseConnection> TakeOver(FuseSession& session, FuseHandles handles);
  /// Ends the readers; when nobody else holds the handles, what the kernel still has open fails
  /// from then on. Replies that are still outstanding must have been sent before.
  ~FuseConnection();
  FuseConnection(const FuseConnection&) = delete;
  FuseConnection& operator=(const FuseConnection&) = delete;

  /// After TakeOver: has the kernel send again what the former process had taken, and answers. An
  /// error: those requests will never be answered (Linux before 6.9).
  Result<void> Resume(unsigned readers);
  /// From now on a request that could not be served is not failed but left to the next process.
  void HandOver() { device_->leave_failures = true; }

  /// Opens a file of the directory for reading. Never on a reader's thread.
  [[nodiscard]] Result<UniqueFd> Open(const std::string& name) const;
  [[nodiscard]] int device_fd() const { return device_->fd.get(); }
  [[nodiscard]] int mount_fd() const { return mount_.get(); }

 private:
  struct Device {
    UniqueFd fd;
    std::atomic<bool> leave_failures = false;
  };
  class Reply;

  FuseConnection(FuseSession& session, FuseHandles handles);
  void StartReaders(unsigned readers);
  void Serve();

  FuseSession& session_;
  const std::shared_ptr<Device> device_;  // Shared with the replies under way.
  UniqueFd mount_;
  std::vector<std::jthread> readers_;
};

}  // namespace floe::cachemgr
