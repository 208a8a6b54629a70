#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "image/layer_scanner.h"
#include "image/unit_decoder.h"

namespace floe::image {

inline std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// Keeps what a scanner delivers, and checks the order of the calls.
class RecordingSink final : public ScanSink {
 public:
  Result<void> OnDecoded(std::span<const std::byte> bytes) override {
    if (bytes.empty()) {
      return Internal("empty call");
    }
    decoded.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (decoded.size() > limit) {
      return ResourceExhausted("more than {} bytes", limit);
    }
    return Ok();
  }
  Result<void> OnUnit(const ScannedUnit& unit) override {
    in_units += unit.decoded_length;
    if (in_units != decoded.size()) {
      return Internal("unit ends at {} of {}", in_units, decoded.size());
    }
    units.push_back(unit);
    return Ok();
  }

  uint64_t limit = UINT64_MAX;
  uint64_t in_units = 0;
  std::string decoded;
  std::vector<ScannedUnit> units;
};

/// Feeds `blob` in pieces of `step` bytes; returns the windows part.
inline Result<std::string> ScanAll(LayerScanner& scanner, std::string_view blob, size_t step) {
  for (size_t at = 0; at < blob.size(); at += step) {
    FLOE_RETURN_IF_ERROR(scanner.Feed(Bytes(blob.substr(at, step))));
  }
  return scanner.Finish();
}

inline UnitView ViewOf(const ScannedUnit& unit) {
  UnitView view;
  view.range = unit.range;
  view.decoded_length = unit.decoded_length;
  view.codec = unit.codec;
  view.bits = unit.bits;
  view.window = unit.window;
  return view;
}

inline Result<std::string> DecodeUnit(UnitDecoder& decoder, const ScannedUnit& unit,
                                      std::string_view blob, std::string_view windows) {
  std::string out(unit.decoded_length, '?');
  FLOE_RETURN_IF_ERROR(decoder.Decode(ViewOf(unit),
                                      Bytes(blob.substr(unit.range.offset, unit.range.length)),
                                      Bytes(windows.substr(unit.window.offset, unit.window.length)),
                                      std::as_writable_bytes(std::span(out.data(), out.size()))));
  return out;
}

/// Text-like and binary bytes with far and near repetitions, so that blocks and matches vary.
inline std::string MixedData(std::mt19937_64& random, size_t bytes) {
  std::string data;
  while (data.size() < bytes) {
    const size_t run = 1 + random() % 5000;
    switch (random() % 4) {
      case 0:
        for (size_t i = 0; i < run; ++i) {
          data.push_back(static_cast<char>(random()));
        }
        break;
      case 1:
        data.append(run, static_cast<char>(random()));
        break;
      case 2:
        for (size_t i = 0; i < run; ++i) {
          data.push_back(static_cast<char>('a' + random() % 7));
        }
        break;
      default:
        if (!data.empty()) {
          const size_t from = random() % data.size();
          data.append(data.substr(from, run));
        }
    }
  }
  data.resize(bytes);
  return data;
}

}  // namespace floe::image
