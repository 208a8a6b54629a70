#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/byte_range.h"
#include "base/digest.h"
#include "image/layer_index.h"

namespace floe::cachemgr::testing {

/// A made-up layer whose blob is plain (not compressed): files one after the other, each behind
/// 512 bytes that no device shows, as in a tar.
struct TestBlob {
  struct Options {
    std::vector<uint64_t> file_bytes = {10000, 4096, 1, 30000};
    uint64_t unit_bytes = 8192;
    uint64_t group_bytes = 4096;  ///< Divides unit_bytes.
    uint32_t seed = 1;
  };
  /// `device` holds the right bytes of the whole device.
  static TestBlob Make(const Options& options);

  /// Index of files named "f0", "f1", ...; all digests right.
  image::LayerIndexData data;
  std::string blob;
  std::string device;
  std::vector<uint64_t> file_offsets;  ///< On the device.
  std::string map;                     ///< The BlobMap file.
  std::string key;
  Digest digest;

  /// A bootstrap over this one device (erofs::WriteBootstrap).
  [[nodiscard]] std::string Bootstrap() const;
  /// The device's bytes of a range.
  [[nodiscard]] std::string Bytes(ByteRange range) const {
    return device.substr(range.offset, range.length);
  }
  [[nodiscard]] ByteRange WholeDevice() const { return {.offset = 0, .length = device.size()}; }
  /// Writes the BlobMap to <directory>/<key>/map as BlobStore keeps it; returns <directory>/<key>.
  [[nodiscard]] std::filesystem::path Store(const std::filesystem::path& directory) const;
};

/// Pseudo-random bytes that differ for each seed.
std::string RandomBytes(uint64_t count, uint32_t seed);

}  // namespace floe::cachemgr::testing
