#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "cachemgr/channel/fuse/fuse_abi.h"

/// Bytes to requests and replies to bytes: the FUSE wire protocol (linux/fuse.h), no I/O.
namespace floe::cachemgr {

/// One message of /dev/fuse; `body` points into the caller's buffer.
struct FuseRequest {
  uint32_t opcode = 0;
  uint64_t unique = 0;  ///< Names the request in its reply, all 64 bits as they came.
  uint64_t node = 0;
  std::span<const std::byte> body;

  /// `message` is what one read(2) returned. InvalidArgument when the lengths disagree.
  static Result<FuseRequest> Parse(std::span<const std::byte> message);
  /// The body's fixed part, as struct fuse_*_in. InvalidArgument when it is too short.
  template <typename T>
  Result<T> Body() const;
  /// The body as one NUL-terminated name. InvalidArgument when there is no NUL.
  [[nodiscard]] Result<std::string_view> Name() const;
};

/// Writes one reply into a buffer of the caller, which must be large enough for what is put in.
class FuseReplyWriter {
 public:
  explicit FuseReplyWriter(std::span<std::byte> buffer) : buffer_(buffer) {}

  /// The whole reply is an error; returns its length in bytes. `error_number` is positive.
  size_t Error(uint64_t unique, int error_number);
  /// A reply without a body.
  size_t Empty(uint64_t unique) { return Finish(unique, 0); }
  /// A reply whose body is one struct fuse_*_out.
  template <typename T>
  size_t Struct(uint64_t unique, const T& body);
  /// Adds a directory entry to the body; false when it does not fit into `limit_bytes` of body.
  bool AddEntry(uint64_t node, uint64_t next_offset, uint32_t type, std::string_view name,
                size_t limit_bytes);
  /// The reply with the entries that were added.
  size_t Entries(uint64_t unique) { return Finish(unique, body_bytes_); }

 private:
  size_t Finish(uint64_t unique, size_t body_bytes);
  std::span<std::byte> buffer_;
  size_t body_bytes_ = 0;
};

/// Bytes of the header that stands before every reply's body.
inline constexpr size_t kFuseReplyHeaderBytes = sizeof(fuse_out_header);
/// The largest READ that is negotiated, and with it the largest reply body.
inline constexpr uint32_t kFuseMaxReadBytes = 1U << 20U;
/// Room for every request: the kernel demands at least FUSE_MIN_READ_BUFFER.
inline constexpr size_t kFuseRequestBytes = 64U << 10U;

/// Our answer to INIT: large asynchronous reads, cached attributes, resend where the kernel has it.
/// Passthrough is never asked for: EROFS refuses files of a stacked file system.
/// FailedPrecondition for a kernel that is too old.
Result<fuse_init_out> NegotiateFuse(const fuse_init_in& kernel);

}  // namespace floe::cachemgr
