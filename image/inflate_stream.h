#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"

namespace floe::image {

/// How far back a deflate match may reach (RFC 1951), and so the size of a whole window.
inline constexpr size_t kInflateWindowBytes = 32768;

/// Owns one zlib inflate state, which is set anew for each stream. For the .cc files of this module
/// that decode deflate; they drive z() themselves. One thread at a time.
class InflateStream {
 public:
  InflateStream();
  ~InflateStream();
  InflateStream(const InflateStream&) = delete;
  InflateStream& operator=(const InflateStream&) = delete;

  /// The next input byte is the first of a gzip member's header. zlib checks the header, the CRC-32
  /// and the length.
  Result<void> StartGzip();
  /// The next input byte is in a raw deflate stream. When `bits` is 1..7, that many most
  /// significant bits of `first_byte`, the byte before the next input byte, are input already.
  /// `window`: at most kInflateWindowBytes that precede the output.
  Result<void> StartDeflate(uint8_t bits, std::byte first_byte, std::span<const std::byte> window);

  void SetInput(std::span<const std::byte> bytes);
  void SetOutput(std::span<std::byte> bytes);
  [[nodiscard]] z_stream& z() { return z_; }
  /// zlib's words for the last failure.
  [[nodiscard]] const char* message() const { return z_.msg != nullptr ? z_.msg : "bad data"; }

 private:
  Result<void> Start(int window_bits);

  z_stream z_ = {};
  bool initialised_ = false;
};

}  // namespace floe::image
