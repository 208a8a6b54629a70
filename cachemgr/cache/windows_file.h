#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/byte_range.h"
#include "base/digest.h"
#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace floe::cachemgr {

/// The inflate windows of one blob, where the node made them itself and no registry has to have
/// them (blobs/<key>/windows, docs/cache.md). Written without waiting for the disk: its digest is
/// checked before the first window is taken from it, in each process anew. Thread-safe.
class WindowsFile {
 public:
  /// What the BlobMap says of the windows.
  struct Identity {
    Digest digest;
    uint64_t size_bytes = 0;
  };

  /// The file as a former process left it. NotFound: there is none; DataLoss: one of another size.
  static Result<std::shared_ptr<WindowsFile>> Open(const std::filesystem::path& path,
                                                   const Identity& identity);
  /// Copies `source` to `path`, which has all of it or what it had before. One caller at a time for
  /// each path. InvalidArgument: the source cannot be read, or has another size or digest.
  static Result<std::shared_ptr<WindowsFile>> Copy(const std::filesystem::path& source,
                                                   const std::filesystem::path& path,
                                                   const Identity& identity);

  /// DataLoss: it does not hold the windows (any more). Reads all of it, unless that was done
  /// before.
  Result<void> Verify();
  /// The bytes of a range of it, after Verify. Waits for the disk.
  Result<std::string> Read(ByteRange range);
  /// What was read from it led to wrong bytes: the next Verify reads it again.
  void Distrust();

  /// What it occupies.
  [[nodiscard]] uint64_t DiskBytes() const;

 private:
  WindowsFile(UniqueFd fd, const Identity& identity, bool verified)
      : fd_(std::move(fd)), identity_(identity), verified_(verified) {}

  const UniqueFd fd_;
  const Identity identity_;
  Mutex mutex_;  ///< Held while the file is read to check it: others wait for the one answer.
  bool verified_ FLOE_GUARDED_BY(mutex_);
};

}  // namespace floe::cachemgr
