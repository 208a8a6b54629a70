#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/result.h"
#include "floe/cachemgr/v1/cachemgr.pb.h"
#include "prepare/mount_plan.h"

namespace floe::client {

/// A blocking client of the cache manager's socket. Thread-safe. Unavailable when nobody answers.
class CachemgrClient {
 public:
  /// `address`: path of the Unix socket.
  static std::unique_ptr<CachemgrClient> Connect(const std::string& address);
  virtual ~CachemgrClient() = default;

  virtual Result<cachemgr::v1::MountReply> Mount(const std::string& id,
                                                 const prepare::MountPlan& plan,
                                                 const std::string& target, bool plain_http) = 0;
  virtual Result<void> Unmount(const std::string& id, bool detach) = 0;
  virtual Result<cachemgr::v1::StatusReply> Status() = 0;
  virtual Result<cachemgr::v1::ProbeReply> Probe() = 0;
};

}  // namespace floe::client
