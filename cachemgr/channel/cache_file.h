#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"

namespace floe::cachemgr {

/// What a cache file demands of its writers.
struct WriteRules {
  /// Offset, length and memory address of each write are multiples of it. 1 for ordinary files;
  /// 4096 for the anonymous descriptor of cachefiles, which the kernel forces into O_DIRECT.
  uint64_t alignment_bytes = 1;
  /// The kernel takes every written block for present (cachefiles finds holes with SEEK_DATA), and
  /// what was written cannot be read back: a block that several groups share is written once, when
  /// all of them are verified.
  bool written_is_present = false;
};

/// Where the verified bytes of one blob go. Thread-safe.
///
/// | channel    | cache file                                             |
/// |------------|--------------------------------------------------------|
/// | fuse       | the BlobCache's own data file; replies are read from it |
/// | fanotify   | the same, through a descriptor opened before the mark   |
/// | cachefiles | the anonymous descriptor of the kernel's OPEN message   |
class CacheFile {
 public:
  virtual ~CacheFile() = default;
  [[nodiscard]] virtual WriteRules rules() const = 0;
  /// Writes all bytes or fails: ResourceExhausted when the disk is full.
  virtual Result<void> Write(std::span<const std::byte> bytes, uint64_t offset) = 0;
  /// What was written before the call survives a power cut (fdatasync). cachefiles cannot promise
  /// it and does not need to: what the kernel's file lost is a hole again.
  virtual Result<void> Sync() = 0;
};

}  // namespace floe::cachemgr
