#include "image/convert/estargz_editor.h"

#include <utility>

#include "image/convert/seekable_footer.h"
#include "image/convert/toc_writer.h"
#include "image/layer_index.h"
#include "image/layer_tree.h"

namespace floe::image {
namespace {

std::span<const std::byte> AsBytes(std::string_view text) { return std::as_bytes(std::span(text)); }

bool IsStargzEntry(const TarEntry& entry) {
  const PathParts parts = CleanPath(entry.name);
  return parts.size() == 1 && (parts[0] == kTocEntryName || parts[0] == kPrefetchLandmark ||
                               parts[0] == kNoPrefetchLandmark);
}

}  // namespace

Result<void> EStargzEditor::OnHeaderBytes(std::span<const std::byte> bytes) {
  if (held_.size() + bytes.size() > kMaxHeldBytes) {
    return Unimplemented("more than {} bytes of headers, or behind the last entry", kMaxHeldBytes);
  }
  held_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return Ok();
}

Result<void> EStargzEditor::OnEntry(const TarEntry& entry) {
  FLOE_RETURN_IF_ERROR(AddLandmark());
  const std::string headers = std::exchange(held_, {});
  dropping_ = IsStargzEntry(entry);
  if (dropping_) {
    return Ok();
  }
  last_block_bytes_ = 0;
  FLOE_RETURN_IF_ERROR(next_.OnHeaderBytes(AsBytes(headers)));
  return next_.OnEntry(entry);
}

Result<void> EStargzEditor::OnContent(std::span<const std::byte> bytes) {
  if (dropping_) {
    return Ok();
  }
  last_block_bytes_ += bytes.size();
  return next_.OnContent(bytes);
}

Result<void> EStargzEditor::OnPadding(std::span<const std::byte> bytes) {
  if (dropping_) {
    return Ok();
  }
  last_block_bytes_ += bytes.size();
  return next_.OnPadding(bytes);
}

Result<void> EStargzEditor::AddLandmark() {
  if (std::exchange(started_, true)) {
    return Ok();
  }
  constexpr std::string_view kContent = "\x0F";
  TarEntry entry;
  entry.type = '0';
  entry.name = kNoPrefetchLandmark;
  entry.mode = 0444;
  entry.size_bytes = entry.content_bytes = kContent.size();
  entry.data = {{.file_offset = 0, .archive_offset = 0, .length = kContent.size()}};
  FLOE_RETURN_IF_ERROR(next_.OnHeaderBytes(AsBytes(UstarHeader(entry.name, kContent.size()))));
  FLOE_RETURN_IF_ERROR(next_.OnEntry(entry));
  FLOE_RETURN_IF_ERROR(next_.OnContent(AsBytes(kContent)));
  return next_.OnPadding(AsBytes(std::string(kTarBlockBytes - kContent.size(), '\0')));
}

// An archive may end inside the padding of its last entry.
Result<void> EStargzEditor::Finish() {
  FLOE_RETURN_IF_ERROR(AddLandmark());
  const uint64_t missing = AlignUp(last_block_bytes_, kTarBlockBytes) - last_block_bytes_;
  return missing == 0 ? Ok() : next_.OnPadding(AsBytes(std::string(missing, '\0')));
}

}  // namespace floe::image
