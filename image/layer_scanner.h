#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/byte_range.h"
#include "base/result.h"
#include "image/layer_index.h"

namespace floe::image {

/// A unit that a scanner has cut: everything of image::Unit but the blob's number.
struct ScannedUnit {
  ByteRange range;              ///< Of the compressed bytes that were fed.
  uint64_t decoded_length = 0;  ///< 1..kMaxUnitBytes; zstd: more where it is streamed.
  Codec codec = Codec::kPlain;
  uint8_t bits = 0;  ///< As Unit::bits. When not 0, the previous unit's range ends with that byte.
  ByteRange window;  ///< Of the windows part that Finish returns.
};

/// Where a scanner's output goes. Called on the thread that calls Feed and Finish. An error ends
/// the scan: Feed or Finish returns it unchanged, and the scanner must not be used again.
class ScanSink {
 public:
  virtual ~ScanSink() = default;
  /// The next decoded bytes, in order, never empty; valid during the call only. They belong to one
  /// unit: a unit ends between two calls. Where a limit on decoded bytes is wanted, enforce it
  /// here: memory of the scanner does not grow with them.
  virtual Result<void> OnDecoded(std::span<const std::byte> bytes) = 0;
  /// The unit of exactly the last `decoded_length` decoded bytes is complete; comes after all of
  /// its bytes and before any byte of the next one. The units' decoded bytes are all decoded bytes.
  virtual Result<void> OnUnit(const ScannedUnit& unit) = 0;
};

/// Decodes the bytes of one layer blob in one pass and cuts it into units that can be fetched and
/// decoded alone (image/unit_decoder.h). What it cuts does not depend on how the bytes were split
/// over Feed calls. One thread at a time.
/// Errors name the compressed offset: InvalidArgument for bytes that are not of the format,
/// DataLoss for truncated or corrupt ones, Unimplemented for what cannot be cut into units that an
/// index may have.
class LayerScanner {
 public:
  virtual ~LayerScanner() = default;
  /// The next bytes of the blob.
  virtual Result<void> Feed(std::span<const std::byte> bytes) = 0;
  /// No more bytes come: checks the end, delivers the last unit, returns the windows part (empty
  /// for all but gzip). Once only.
  virtual Result<std::string> Finish() = 0;
};

}  // namespace floe::image
