#pragma once

#include <string>
#include <vector>

#include "base/check.h"
#include "image/layer_scanner.h"
#include "image/unit_decoder.h"

namespace floe::image {

/// Keeps what a scanner delivers, up to a limit, for Decode to compare.
class CheckingSink final : public ScanSink {
 public:
  Result<void> OnDecoded(std::span<const std::byte> bytes) override {
    decoded_.insert(decoded_.end(), bytes.begin(), bytes.end());
    return decoded_.size() > kLimit ? Result<void>(ResourceExhausted("enough")) : Ok();
  }
  Result<void> OnUnit(const ScannedUnit& unit) override {
    units_.push_back(unit);
    return Ok();
  }

  /// Every unit decodes alone to the bytes that the scanner delivered for it.
  void DecodeAll(std::span<const std::byte> blob, const std::string& windows) const {
    UnitDecoder decoder;
    size_t at = 0;
    for (const ScannedUnit& unit : units_) {
      UnitView view;
      view.range = unit.range;
      view.decoded_length = unit.decoded_length;
      view.codec = unit.codec;
      view.bits = unit.bits;
      view.window = unit.window;
      FLOE_CHECK(unit.range.end() <= blob.size() && unit.window.end() <= windows.size());
      std::vector<std::byte> out(unit.decoded_length);
      FLOE_CHECK(
          decoder
              .Decode(
                  view, blob.subspan(unit.range.offset, unit.range.length),
                  std::as_bytes(std::span(windows)).subspan(unit.window.offset, unit.window.length),
                  out)
              .has_value());
      FLOE_CHECK(std::equal(out.begin(), out.end(), decoded_.begin() + static_cast<long>(at)));
      at += out.size();
    }
    FLOE_CHECK(at == decoded_.size());
  }

 private:
  static constexpr size_t kLimit = 4U << 20U;
  std::vector<std::byte> decoded_;
  std::vector<ScannedUnit> units_;
};

/// Scans `blob` in pieces of 1..256 bytes and, if it is valid, decodes each unit.
inline void ScanAndDecode(LayerScanner& scanner, CheckingSink& sink,
                          std::span<const std::byte> blob, size_t step) {
  for (size_t at = 0; at < blob.size(); at += step) {
    if (!scanner.Feed(blob.subspan(at, std::min(step, blob.size() - at))).has_value()) {
      return;
    }
  }
  if (const auto windows = scanner.Finish(); windows.has_value()) {
    sink.DecodeAll(blob, *windows);
  }
}

}  // namespace floe::image
