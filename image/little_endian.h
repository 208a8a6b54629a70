#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>

namespace floe::image {

/// The little-endian number at `at`, which need not be aligned.
template <std::unsigned_integral T>
T LoadLittleEndian(const std::byte* at) {
  uint64_t value = 0;
  for (size_t i = sizeof(T); i-- > 0;) {
    value = (value << 8U) | std::to_integer<uint64_t>(at[i]);
  }
  return static_cast<T>(value);
}

/// Appends sizeof(T) bytes.
template <std::unsigned_integral T>
void AppendLittleEndian(std::string& to, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    to.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
  }
}

}  // namespace floe::image
