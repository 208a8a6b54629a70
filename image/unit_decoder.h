#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "image/blob_map.h"

namespace floe::image {

/// Decodes whole units. Keeps inflate and zstd contexts between calls; one thread at a time.
class UnitDecoder {
 public:
  UnitDecoder();
  ~UnitDecoder();
  UnitDecoder(const UnitDecoder&) = delete;
  UnitDecoder& operator=(const UnitDecoder&) = delete;

  /// `compressed` is exactly unit.range of the blob; `window` exactly unit.window of the windows
  /// part (empty when unit.window is); `out` has unit.decoded_length bytes and is filled
  /// completely. DataLoss when the bytes do not decode to exactly that many. Digests are the
  /// caller's business.
  Result<void> Decode(const UnitView& unit, std::span<const std::byte> compressed,
                      std::span<const std::byte> window, std::span<std::byte> out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace floe::image
