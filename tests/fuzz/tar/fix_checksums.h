#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

namespace floe::image {

/// The input with a right checksum in every block that has the ustar magic, so that the fuzzer does
/// not have to find checksums.
inline std::string WithChecksums(const uint8_t* data, size_t size) {
  constexpr size_t kBlock = 512;
  constexpr size_t kChecksum = 148;
  constexpr size_t kMagic = 257;
  std::string archive(reinterpret_cast<const char*>(data), size);
  for (size_t at = 0; at + kBlock <= archive.size(); at += kBlock) {
    if (archive.compare(at + kMagic, 5, "ustar") != 0) {
      continue;
    }
    archive.replace(at + kChecksum, 8, "        ");
    unsigned sum = 0;
    for (size_t i = 0; i < kBlock; ++i) {
      sum += static_cast<uint8_t>(archive[at + i]);
    }
    std::array<char, 8> text{};
    std::snprintf(text.data(), text.size(), "%06o", sum);
    archive.replace(at + kChecksum, 7, text.data(), 7);
  }
  return archive;
}

}  // namespace floe::image
