#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace floe::image {

/// Compresses pieces of a layer into frames (zstd) or members (gzip) that decode alone, and back to
/// back to the whole. Equal input gives equal bytes with one version of the library. One thread at
/// a time. ResourceExhausted: no memory.
class FrameEncoder {
 public:
  virtual ~FrameEncoder() = default;
  /// One frame, appended to `out`.
  virtual Result<void> Encode(std::span<const std::byte> bytes, std::string& out) = 0;
};

/// Level 1 to 19.
Result<std::unique_ptr<FrameEncoder>> MakeZstdEncoder(int level);
/// Level 1 to 9. Members have no name and no time.
Result<std::unique_ptr<FrameEncoder>> MakeGzipEncoder(int level);

}  // namespace floe::image
