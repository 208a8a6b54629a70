#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "image/layer_scanner.h"

namespace floe::image {

struct ZstdScannerOptions {
  /// Neighbouring frames become one unit as long as they decode to at most this many bytes.
  uint64_t span_bytes = 256U << 10U;
};

/// Cuts zstd frames (RFC 8878) into units of Codec::kZstd: whole frames, several small ones or one
/// large one. A unit larger than span_bytes is one frame, of which the caller cuts several groups.
/// One that decodes to more than kMaxUnitBytes is a streamed unit (image/layer_index.h). Skippable
/// frames belong to no unit. A frame that decodes to more than kMaxDeviceBytes, needs a dictionary
/// or a window above 128 MiB is Unimplemented, as early as its header says so.
class ZstdScanner final : public LayerScanner {
 public:
  /// `sink` must outlive the scanner.
  static Result<std::unique_ptr<ZstdScanner>> Create(ZstdScannerOptions options, ScanSink& sink);
  ~ZstdScanner() override;

  Result<void> Feed(std::span<const std::byte> bytes) override;
  /// Always an empty windows part.
  Result<std::string> Finish() override;

 private:
  class Impl;
  explicit ZstdScanner(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace floe::image
