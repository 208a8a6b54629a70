#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_range.h"
#include "base/digest.h"
#include "base/result.h"
#include "cachemgr/channel/cache_file.h"

/// How the kernel's on-demand reads reach Floe. One implementation for each kernel mechanism;
/// inside an implementation the kernel's own names are used (FUSE: node, unique; fanotify: mark,
/// event; cachefiles: volume, cookie, object). What the mechanisms do and do not promise stands in
/// docs/channels.md.
namespace floe::cachemgr {

/// The answer to one kernel request, owned by whoever serves it.
class DemandReply {
 public:
  virtual ~DemandReply() = default;
  /// Called exactly once, on any thread, before destruction. Success: every byte of the demanded
  /// range is in the cache file. Failure: the channel passes on the errno of ErrnoForReply (in
  /// errno_map.h), or whatever its mechanism can say (cachefiles completes the READ without data).
  /// Must not wait for the cache file system when `outcome` is a failure: the thread that enforces
  /// deadlines calls it.
  virtual void Send(const Result<void>& outcome) = 0;
};

/// Serves the demands for one device. Owned together with its blob; thread-safe.
class DemandHandler {
 public:
  virtual ~DemandHandler() = default;

  /// The fast path, called first for every kernel request, on a channel reader's thread: true when
  /// all of the range is present. Does not allocate, lock or wait. True counts as a hit.
  virtual bool TryHit(ByteRange range) = 0;
  /// After TryHit said no. Starts or joins fills and returns at once; `reply` is sent exactly once,
  /// now or later, on any thread.
  virtual void Demand(ByteRange range, std::unique_ptr<DemandReply> reply) = 0;
  /// The kernel has given this device a cache file of its own (cachefiles' OPEN, again after every
  /// re-open). `present` are the ranges that it holds already; all else is absent from now on.
  /// Channels that serve the BlobCache's data file never call it.
  virtual void UseCacheFile(std::shared_ptr<CacheFile> file,
                            const std::vector<ByteRange>& present) = 0;
  /// Whole blocks of the range that belong to no file's bytes: zeros that no fill ever writes, and
  /// that a channel has to where the kernel must not find holes (cachefiles).
  virtual std::vector<ByteRange> Blanks(ByteRange range) = 0;
};

/// A blob's device as a channel sees it.
struct DeviceSpec {
  std::string key;          ///< 64 hex digits: file name (fuse), EROFS device tag and cookie key.
  uint64_t size_bytes = 0;  ///< A multiple of 4096.
  /// The BlobCache's data file, sparse, `size_bytes` long, open for reading and writing from before
  /// any mark; lives as long as the handler. fuse reads its replies from it, fanotify marks it (by
  /// /proc/self/fd) and fills through it, cachefiles does not use it.
  int data_fd = -1;
};

/// Keeps a device known to the kernel; letting go of it withdraws the device. What the kernel still
/// has open (a lazily detached mount) is served until the kernel closes it.
class DeviceRegistration {
 public:
  virtual ~DeviceRegistration() = default;
  /// The blob became complete and durable. fanotify takes the mark off, so that reads never leave
  /// the kernel again; the others have nothing to do.
  virtual void Completed() {}
};

/// One device of a mount, in slot order.
struct MountDevice {
  std::string key;
  uint64_t size_bytes = 0;
  int data_fd = -1;
  /// Of this channel; null for a complete blob, whose data file is mounted as it is.
  const DeviceRegistration* registration = nullptr;
};

struct MountSpec {
  std::filesystem::path bootstrap = {};  ///< Complete and never watched.
  Digest bootstrap_digest = {};          ///< cachefiles: the cookie key (fsid) of the bootstrap.
  std::vector<MountDevice> devices = {};
  std::filesystem::path target = {};  ///< An existing directory.
};

/// What the kernel has sent on a channel that speaks in messages; all 0 on others.
struct ChannelCounters {
  uint64_t opens = 0;
  uint64_t opens_refused = 0;
  uint64_t reads = 0;
  uint64_t closes = 0;
};

/// A kernel mechanism. Thread-safe. The order is always: Register every blob that is not complete,
/// then Mount (fanotify and cachefiles need it so). Unmounting is umount2(2) on the target, then
/// letting go of the registrations. Must outlive its registrations; its destructor ends its threads
/// and with them every mount that still needs it (reads fail with EIO).
class OnDemandChannel {
 public:
  virtual ~OnDemandChannel() = default;
  /// "fuse", ... as in MountReply.channel.
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// False when a mount cannot mix registered devices with plain data files (cachefiles: all
  /// devices are cookies): then complete blobs of a mixed mount are registered as well.
  [[nodiscard]] virtual bool MixesWithPlainFiles() const = 0;
  /// Makes the device known to the kernel: a FUSE file, a fanotify mark, the answer to a later
  /// OPEN. One key may be registered several times. FailedPrecondition: the file system or kernel
  /// cannot.
  virtual Result<std::unique_ptr<DeviceRegistration>> Register(
      const DeviceSpec& spec, std::shared_ptr<DemandHandler> handler) = 0;
  /// Makes the EROFS mount with the options that this mechanism needs (device= paths, fsid=, ...)
  /// and attaches it to the target. All or nothing. Returns the mount's st_dev.
  virtual Result<dev_t> Mount(const MountSpec& spec) = 0;
  /// Proves on the real cache file system that a demand arrives, that a filled range reads right
  /// and that a refused one fails; the error says exactly what is missing. `scratch`: an empty
  /// private directory there.
  virtual Result<void> Probe(const std::filesystem::path& scratch) = 0;
  [[nodiscard]] virtual ChannelCounters counters() const { return {}; }

  /// True when this goes on with the descriptors of a process that died, or handed over: its mounts
  /// live, their readers wait, and nothing is answered until every device that they may read is
  /// registered, every mount adopted, and Resume() called.
  [[nodiscard]] virtual bool taken_over() const { return false; }
  /// A mount that the former process made. Its devices are registered, and stay so.
  virtual Result<void> Adopt(const MountSpec& /*spec*/, dev_t /*device*/) { return Ok(); }
  /// Before Resume: a device that the former process had made known to the kernel, and that no
  /// mount needs any more.
  virtual void Forget(const std::string& /*key*/, int /*data_fd*/) {}
  /// Answers from now on, first what the former process had not.
  virtual void Resume() {}
  /// Answers nothing any more and leaves what waits to the next process, for which the keeper holds
  /// the descriptors: true, and the mounts stay. False, and nothing happens, when it holds none.
  virtual bool HandOver() { return false; }
};

}  // namespace floe::cachemgr
