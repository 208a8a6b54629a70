#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "image/layer_scanner.h"

namespace floe::image {

struct GzipScannerOptions {
  /// A new unit starts at the first deflate block boundary, or the first gzip member, at which the
  /// current one has at least this many decoded bytes.
  uint64_t span_bytes = 256U << 10U;
};

/// Cuts a gzip file (RFC 1952; one or more members, any header fields) into units: Codec::kGzip
/// where a unit starts with a member, else Codec::kDeflate with a checkpoint.
///
///   member header | block | block | block | trailer | member header | block | trailer
///   ^ kGzip               ^ kDeflate: bits, window   (a unit may run over several members)
///
/// A window holds only the bytes that the unit refers back to: the others are zero, the ones before
/// the first such byte are left out, and a unit that refers to none has no window. In the windows
/// part each window is one zstd frame; they lie back to back in unit order.
///
/// The CRC-32 and the length of every member are checked. What follows the last member must be
/// another member: padding, zeros included, is InvalidArgument, as it is to containerd (Go's
/// compress/gzip).
class GzipScanner final : public LayerScanner {
 public:
  /// `sink` must outlive the scanner.
  static Result<std::unique_ptr<GzipScanner>> Create(GzipScannerOptions options, ScanSink& sink);
  ~GzipScanner() override;

  Result<void> Feed(std::span<const std::byte> bytes) override;
  Result<std::string> Finish() override;

 private:
  class Impl;
  explicit GzipScanner(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace floe::image
