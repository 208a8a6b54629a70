#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/byte_range.h"
#include "image/little_endian.h"

namespace floe::image::rafs {

using Bytes = std::span<const std::byte>;

/// [offset, offset + length) lies in `bytes`.
inline bool IsInside(ByteRange range, Bytes bytes) {
  return range.IsValid() && range.end() <= bytes.size();
}
inline Bytes Slice(Bytes bytes, ByteRange range) {
  return bytes.subspan(range.offset, range.length);
}

/// One little-endian record of a known size; the reader's own offsets are inside it.
class Record {
 public:
  explicit Record(Bytes bytes) : bytes_(bytes) {}

  template <std::unsigned_integral T>
  [[nodiscard]] T Get(size_t at) const {
    return LoadLittleEndian<T>(bytes_.subspan(at, sizeof(T)).data());
  }
  [[nodiscard]] uint8_t U8(size_t at) const { return Get<uint8_t>(at); }
  [[nodiscard]] uint16_t U16(size_t at) const { return Get<uint16_t>(at); }
  [[nodiscard]] uint32_t U32(size_t at) const { return Get<uint32_t>(at); }
  [[nodiscard]] uint64_t U64(size_t at) const { return Get<uint64_t>(at); }
  [[nodiscard]] Bytes Part(size_t at, size_t length) const { return bytes_.subspan(at, length); }

 private:
  Bytes bytes_;
};

}  // namespace floe::image::rafs
