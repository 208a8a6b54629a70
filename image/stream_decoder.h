#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "image/blob_map.h"

namespace floe::image {

/// Decodes one streamed unit (image/layer_index.h) from its start, as its compressed bytes come.
/// Memory: the frame's window, at most 128 MiB. One thread at a time.
class StreamDecoder {
 public:
  /// ResourceExhausted: no memory for a context.
  static Result<std::unique_ptr<StreamDecoder>> Create(const UnitView& unit);
  ~StreamDecoder();
  StreamDecoder(const StreamDecoder&) = delete;
  StreamDecoder& operator=(const StreamDecoder&) = delete;

  /// Decodes into `out` until it is full, `input` is used up or the unit ends; takes what it used
  /// from the front of `input`, which is the unit's bytes in order. Returns how many bytes were
  /// written. May keep output back, so call it again, with nothing, when input has run out.
  /// DataLoss: the bytes do not decode; it must not be used again.
  Result<size_t> Decode(std::span<const std::byte>& input, std::span<std::byte> out);

  /// Bytes of the unit decoded so far.
  [[nodiscard]] uint64_t position() const { return position_; }

 private:
  struct Context;
  StreamDecoder(const UnitView& unit, std::unique_ptr<Context> context);

  const uint64_t unit_offset_;
  const uint64_t decoded_length_;
  const std::unique_ptr<Context> context_;
  uint64_t position_ = 0;
};

}  // namespace floe::image
