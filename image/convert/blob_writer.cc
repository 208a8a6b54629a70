#include "image/convert/blob_writer.h"

#include "base/check.h"

namespace floe::image {

void BlobWriter::Append(std::span<const std::byte> bytes) {
  pending_.insert(pending_.end(), bytes.begin(), bytes.end());
  decoded_bytes_ += bytes.size();
  decoded_hasher_.Update(bytes);
}

Result<void> BlobWriter::Flush() {
  if (pending_.empty()) {
    return Ok();
  }
  frame_.clear();
  FLOE_RETURN_IF_ERROR(encoder_->Encode(pending_, frame_));
  pending_.clear();
  return WriteRaw(frame_);
}

Result<void> BlobWriter::WriteRaw(std::string_view bytes) {
  FLOE_CHECK(pending_.empty());
  blob_hasher_.Update(bytes);
  offset_ += bytes.size();
  return sink_(bytes);
}

}  // namespace floe::image
