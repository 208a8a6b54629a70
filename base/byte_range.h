#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace floe {

/// Bytes [offset, offset + length). Half open; never a pair of ints.
struct ByteRange {
  uint64_t offset = 0;
  uint64_t length = 0;

  [[nodiscard]] constexpr uint64_t end() const { return offset + length; }
  [[nodiscard]] constexpr bool empty() const { return length == 0; }
  /// False when offset + length does not fit: such a range is never valid input.
  [[nodiscard]] constexpr bool IsValid() const {
    return length <= std::numeric_limits<uint64_t>::max() - offset;
  }
  [[nodiscard]] constexpr bool Contains(const ByteRange& other) const {
    return other.offset >= offset && other.end() <= end();
  }
  [[nodiscard]] constexpr bool Overlaps(const ByteRange& other) const {
    return offset < other.end() && other.offset < end();
  }
  constexpr auto operator<=>(const ByteRange&) const = default;
};

/// The EROFS block, and the alignment of everything the kernel maps.
inline constexpr uint64_t kBlockBytes = 4096;

constexpr uint64_t AlignUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}
constexpr uint64_t AlignDown(uint64_t value, uint64_t alignment) {
  return value / alignment * alignment;
}

}  // namespace floe
