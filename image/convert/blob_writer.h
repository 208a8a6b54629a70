#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "image/convert/frame_encoder.h"

namespace floe::image {

/// Where the bytes of a blob go, in order.
using BlobSink = std::function<Result<void>(std::string_view)>;

/// Collects decoded bytes into frames and writes those to the sink. Errors are the encoder's and
/// the sink's. One thread at a time; memory: one frame.
class BlobWriter {
 public:
  BlobWriter(std::unique_ptr<FrameEncoder> encoder, BlobSink sink)
      : encoder_(std::move(encoder)), sink_(std::move(sink)) {}

  /// Into the frame that is being collected.
  void Append(std::span<const std::byte> bytes);
  /// Bytes of that frame so far.
  [[nodiscard]] uint64_t pending_bytes() const { return pending_.size(); }
  /// Writes that frame; nothing when it is empty.
  Result<void> Flush();
  /// As they stand, behind what was flushed. No frame may be pending.
  Result<void> WriteRaw(std::string_view bytes);

  /// Of the blob, where the next frame or raw bytes will begin.
  [[nodiscard]] uint64_t offset() const { return offset_; }
  [[nodiscard]] uint64_t decoded_bytes() const { return decoded_bytes_; }
  /// Digest of all that was written. Ends the writer.
  Digest Finish() { return blob_hasher_.Finish(); }
  /// Digest of all that was appended: the archive that an ordinary decoder gets.
  Digest FinishDecoded() { return decoded_hasher_.Finish(); }

 private:
  std::unique_ptr<FrameEncoder> encoder_;
  BlobSink sink_;
  std::vector<std::byte> pending_;
  std::string frame_;
  uint64_t offset_ = 0, decoded_bytes_ = 0;
  Sha256Hasher blob_hasher_, decoded_hasher_;
};

}  // namespace floe::image
