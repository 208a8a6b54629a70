#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace floe::image {

/// The start of a deflate unit, as WindowTrimmer needs it.
struct UnitHead {
  std::span<const std::byte> window;      ///< The output before the unit: at most 32768 bytes.
  uint8_t bits = 0;                       ///< As Unit::bits.
  std::span<const std::byte> compressed;  ///< From the unit's first byte on (the shared one first).
  /// What `compressed` decodes to: the unit's first 32768 bytes or all of it. Later bytes cannot
  /// refer to the window: a match reaches back 32768 bytes at most.
  std::span<const std::byte> decoded;
};

/// Finds which bytes of its window a deflate unit refers back to, and packs only these.
/// One thread at a time.
class WindowTrimmer {
 public:
  WindowTrimmer();
  ~WindowTrimmer();
  WindowTrimmer(const WindowTrimmer&) = delete;
  WindowTrimmer& operator=(const WindowTrimmer&) = delete;

  /// One zstd frame that decodes to the window's tail, from the first byte that is referred to;
  /// bytes that are not are zero. Empty when there is none. When `head.compressed` does not decode
  /// to `head.decoded` with these windows, every byte counts as referred to.
  Result<std::string> Trim(const UnitHead& head);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace floe::image
