#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/byte_range.h"
#include "cachemgr/channel/fuse/fuse_message.h"
#include "cachemgr/channel/fuse/fuse_nodes.h"

namespace floe::cachemgr {

/// Decides what to do with each FUSE request; knows the nodes, does no I/O. Thread-safe.
///
/// Served: INIT, LOOKUP, FORGET, BATCH_FORGET, GETATTR, OPEN, READ, RELEASE, STATFS, OPENDIR,
/// READDIR, RELEASEDIR, INTERRUPT, DESTROY. All else is answered with ENOSYS, which the kernel
/// remembers. INTERRUPT is heard and not acted on: the kernel sends it for any signal, also those
/// that the reader survives, and a read that failed then would be a SIGBUS in a healthy program.
class FuseSession {
 public:
  enum class Action : uint8_t {
    kReply,    ///< Write `reply_bytes` of the reply buffer.
    kNoReply,  ///< The request wants none.
    kRead,     ///< Answer `read`, now or later.
    kLeave,    ///< As kReply; then this reader thread ends (its owner asked for it).
  };
  struct Read {
    uint64_t unique = 0;
    ByteRange range = {};  ///< Inside the device, not empty.
    std::shared_ptr<const FuseBinding> binding = {};
  };
  struct Step {
    Action action = Action::kNoReply;
    size_t reply_bytes = 0;
    Read read = {};
  };

  /// `nodes` must outlive this.
  explicit FuseSession(FuseNodes& nodes) : nodes_(nodes) {}

  /// `reply` has room for kFuseReplyBytes.
  Step Handle(std::span<const std::byte> message, std::span<std::byte> reply);

  /// The kernel can hand what a dead process had taken to its successor (INIT was answered so).
  [[nodiscard]] bool resend_granted() const { return resend_granted_.load(); }

  /// A LOOKUP of this name ends the reader thread that takes it.
  static constexpr const char* kLeaveName = "leave";

 private:
  Step Init(const FuseRequest& request, FuseReplyWriter writer);
  Step Lookup(const FuseRequest& request, FuseReplyWriter writer);
  Step GetAttributes(const FuseRequest& request, FuseReplyWriter writer);
  Step Open(const FuseRequest& request, FuseReplyWriter writer);
  Step ReadFile(const FuseRequest& request, FuseReplyWriter writer);
  Step ReadDirectory(const FuseRequest& request, FuseReplyWriter writer);
  Step Forget(const FuseRequest& request);
  Step ForgetMany(const FuseRequest& request);
  static Step StatFileSystem(const FuseRequest& request, FuseReplyWriter writer);

  FuseNodes& nodes_;
  std::atomic<bool> resend_granted_ = false;
};

/// Room for every reply but the data of a READ.
inline constexpr size_t kFuseReplyBytes = 64U << 10U;

}  // namespace floe::cachemgr
