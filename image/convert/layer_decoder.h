#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"

namespace floe::image {

/// Decodes the bytes of one layer blob in one pass: gzip (members back to back, RFC 1952), zstd
/// (frames back to back, also one that is as large as the layer, RFC 8878) or neither, as its first
/// bytes say. Unlike the scanners (layer_scanner.h) it cuts nothing, so it takes what cannot be
/// read at random. One thread at a time; memory: a decoder's window.
class LayerDecoder {
 public:
  /// The next decoded bytes, never empty; valid during the call only.
  using Sink = std::function<Result<void>(std::span<const std::byte>)>;
  /// One way to decode.
  class Codec {
   public:
    virtual ~Codec() = default;
    virtual Result<void> Feed(std::span<const std::byte> bytes, const Sink& sink) = 0;
    virtual Result<void> Finish() = 0;
  };

  explicit LayerDecoder(Sink sink) : sink_(std::move(sink)) {}

  /// DataLoss: corrupt; InvalidArgument: something else follows the last member or frame. The
  /// sink's errors as they are. After an error it must not be used again.
  Result<void> Feed(std::span<const std::byte> bytes);
  /// No more bytes come. DataLoss: cut off.
  Result<void> Finish();

 private:
  Result<void> Start();

  Sink sink_;
  std::vector<std::byte> magic_;  ///< The first bytes, until there is a codec.
  std::unique_ptr<Codec> codec_;
};

}  // namespace floe::image
