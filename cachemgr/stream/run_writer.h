#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "cachemgr/stream/retry_with_room.h"

namespace floe::cachemgr {

/// Writes a file front to back in writes of kRunBytes, whatever the pieces that come. Not for two
/// threads at once.
///
///     file    | piece |0| piece |0|            | piece ...       0: written, to kBlockBytes
///     writes  [------ run --------]            [------ run ...
class RunWriter {
 public:
  static constexpr size_t kRunBytes = 1U << 20U;

  struct Options {
    int fd = -1;  ///< Must outlive the writer.
    /// Gaps between pieces become zeros that are written; else only those inside a block are, and
    /// the rest of a gap stays as it is in the file.
    bool fill_gaps = false;
    MakeRoom make_room = [] { return false; };
  };
  explicit RunWriter(Options options);

  /// `offset` is not before the end of the last piece. ResourceExhausted: the disk is full.
  Result<void> Append(uint64_t offset, std::span<const std::byte> bytes);
  /// Writes what waits, with zeros to the end of its block.
  Result<void> Flush();

 private:
  Result<void> Put(std::span<const std::byte> bytes);
  Result<void> PutZeros(uint64_t count);
  Result<void> WriteRun();

  const Options options_;
  const std::unique_ptr<std::byte[]> run_;
  uint64_t run_offset_ = 0;  ///< In the file.
  size_t run_bytes_ = 0;
};

}  // namespace floe::cachemgr
