#include "image/convert/archive_splitter.h"

#include <algorithm>

#include "image/layer_index.h"

namespace floe::image {

Result<void> ArchiveSplitter::Feed(std::span<const std::byte> bytes) {
  FLOE_RETURN_IF_ERROR(reader_.Feed(bytes));
  while (!bytes.empty()) {
    FLOE_RETURN_IF_ERROR(Step(bytes));
  }
  return Ok();
}

Result<void> ArchiveSplitter::OnEntry(const TarEntry& entry) {
  entries_.push_back(entry);
  return Ok();
}

Result<void> ArchiveSplitter::Step(std::span<const std::byte>& bytes) {
  if (position_ < content_end_) {
    return sink_.OnContent(TakeUntil(content_end_, bytes));
  }
  if (position_ < padding_end_) {
    return sink_.OnPadding(TakeUntil(padding_end_, bytes));
  }
  return StepHeader(bytes);
}

// An entry's last header byte is among those of the Feed that found it, so the entry is always
// known before its end is reached.
Result<void> ArchiveSplitter::StepHeader(std::span<const std::byte>& bytes) {
  if (entries_.empty()) {
    return sink_.OnHeaderBytes(TakeUntil(UINT64_MAX, bytes));
  }
  const TarEntry entry = std::move(entries_.front());
  if (entry.content_offset > position_ + bytes.size()) {
    return Internal("a tar entry ends behind the bytes that it was found in");
  }
  entries_.pop_front();
  FLOE_RETURN_IF_ERROR(sink_.OnHeaderBytes(TakeUntil(entry.content_offset, bytes)));
  content_end_ = entry.content_offset + entry.content_bytes;
  padding_end_ = AlignUp(content_end_, kTarBlockBytes);
  return sink_.OnEntry(entry);
}

std::span<const std::byte> ArchiveSplitter::TakeUntil(uint64_t offset,
                                                      std::span<const std::byte>& bytes) {
  const auto taken = bytes.first(std::min<uint64_t>(bytes.size(), offset - position_));
  bytes = bytes.subspan(taken.size());
  position_ += taken.size();
  return taken;
}

}  // namespace floe::image
