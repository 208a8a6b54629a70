#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "image/layer_scanner.h"

namespace floe::image {

/// Cuts an uncompressed layer into units of Codec::kPlain, each of span_bytes but the last. The one
/// scanner that takes any bytes: it never fails by itself.
class PlainScanner final : public LayerScanner {
 public:
  /// `sink` must outlive the scanner. span_bytes: 1..kMaxUnitBytes, other values are clamped.
  PlainScanner(uint64_t span_bytes, ScanSink& sink);

  Result<void> Feed(std::span<const std::byte> bytes) override;
  Result<std::string> Finish() override;

 private:
  Result<void> EndUnit();

  const uint64_t span_bytes_;
  ScanSink& sink_;
  ByteRange unit_;
};

}  // namespace floe::image
