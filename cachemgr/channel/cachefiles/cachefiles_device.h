#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "cachemgr/channel/cachefiles/cachefiles_message.h"

namespace floe::cachemgr {

/// When the kernel stops to write: per cent of the free blocks and of the free inodes of the cache
/// file system, 0 <= stop < cull < run < 100. The kernel enforces `stop`; culling between `cull`
/// and `run` is the daemon's work.
struct CullLimits {
  unsigned run_percent = 7;
  unsigned cull_percent = 5;
  unsigned stop_percent = 1;
};

/// An open /dev/cachefiles: one program has it at a time. Commands are one write(2), messages one
/// read(2) (fs/cachefiles/daemon.c). Thread-safe: the kernel serialises. While it is open the cache
/// is alive; the last close of the descriptor and its duplicates fails every pending and later
/// read.
class CachefilesDevice {
 public:
  /// FailedPrecondition: no device, or no right to it. Unavailable: another program has it, and is
  /// named.
  static Result<CachefilesDevice> Open(const std::filesystem::path& path = "/dev/cachefiles");
  /// A descriptor that a holder kept alive, bound already.
  explicit CachefilesDevice(UniqueFd fd) : fd_(std::move(fd)) {}

  /// Makes `directory` (existing; a file system with user xattrs) the cache and goes live in
  /// on-demand mode. FailedPrecondition says what the kernel or the file system lacks;
  /// AlreadyExists: it is bound.
  Result<void> Bind(const std::filesystem::path& directory, const std::string& tag,
                    const CullLimits& limits);
  /// Has the kernel say again what a dead daemon had read and not answered. Unimplemented before
  /// Linux 6.8.
  Result<void> Restore();

  /// The next message; nothing when none waits. Never blocks.
  Result<std::optional<CachefilesMessage>> Next();
  /// Answers OPEN. Fails when the kernel has given up on it (the mounter was killed).
  Result<void> CompleteOpen(uint32_t message, uint64_t size_bytes);
  Result<void> RefuseOpen(uint32_t message, int error_number);

  /// Both address a file in the calling thread's working directory. False: it is in use.
  Result<bool> Cull(const std::string& name);
  Result<bool> IsInUse(const std::string& name);

  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  Result<void> Command(const std::string& command);

  UniqueFd fd_;
};

}  // namespace floe::cachemgr
