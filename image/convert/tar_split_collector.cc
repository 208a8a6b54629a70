#include "image/convert/tar_split_collector.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace floe::image {
namespace {

// Larger headers are rare; an archive's end may have any length.
constexpr size_t kMaxSegmentBytes = 4U << 20U;

// Of types without content podman's reader takes the header's size at its word.
bool HasSizeField(std::string_view header) {
  constexpr size_t kSizeOffset = 124;
  constexpr size_t kSizeBytes = 12;
  const std::string_view size = header.substr(kSizeOffset, kSizeBytes);
  return size.find_first_not_of(std::string_view("0 \0", 3)) != std::string_view::npos;
}

// GNU headers keep access and change time where ustar has the prefix of the name.
bool HasGnuTimes(std::string_view header) {
  constexpr size_t kMagicOffset = 257;
  constexpr size_t kTimesOffset = 345;
  constexpr size_t kTimesBytes = 24;
  constexpr std::string_view kGnuMagic("ustar  \0", 8);
  return header.substr(kMagicOffset, kGnuMagic.size()) == kGnuMagic &&
         header.substr(kTimesOffset, kTimesBytes).find_first_not_of('\0') != std::string_view::npos;
}

}  // namespace

// An end of the archive may be in pieces, an entry's headers may not.
Result<void> TarSplitCollector::OnHeaderBytes(std::span<const std::byte> bytes) {
  while (agrees_ && !bytes.empty()) {
    const auto part =
        bytes.first(std::min<uint64_t>(bytes.size(), kMaxSegmentBytes - segment_.size()));
    bytes = bytes.subspan(part.size());
    segment_.append(reinterpret_cast<const char*>(part.data()), part.size());
    if (segment_.size() == kMaxSegmentBytes) {
      split_segment_ = true;
      FLOE_RETURN_IF_ERROR(AddSegment());
    }
  }
  return Ok();
}

Result<void> TarSplitCollector::OnPadding(std::span<const std::byte> bytes) {
  padding_bytes_ += agrees_ ? bytes.size() : 0;
  return OnHeaderBytes(bytes);
}

// What the table of contents does not hold but podman compares: access and change times, in PAX
// records or in GNU headers. Looking for the keywords anywhere in the headers errs on the safe
// side.
bool TarSplitCollector::IsPlain(const TarEntry& entry) const {
  const std::string_view headers = std::string_view(segment_).substr(padding_bytes_);
  if (split_segment_ || headers.size() < kTarBlockBytes) {
    return false;
  }
  const std::string_view last = headers.substr(headers.size() - kTarBlockBytes);
  const bool known = entry.type >= '0' && entry.type <= '6';
  const bool size_agrees = entry.type == '0' || !HasSizeField(last);
  return known && size_agrees && !HasGnuTimes(last) &&
         headers.find("atime=") == std::string_view::npos &&
         headers.find("ctime=") == std::string_view::npos &&
         headers.find("GNU.sparse") == std::string_view::npos;
}

Result<void> TarSplitCollector::OnEntry(const TarEntry& entry) {
  agrees_ = agrees_ && IsPlain(entry) && names_.insert(entry.name).second;
  if (!agrees_) {
    return Ok();
  }
  FLOE_RETURN_IF_ERROR(AddSegment());
  name_ = entry.name;
  size_ = left_ = entry.content_bytes;
  crc_ = {};
  return left_ == 0 ? EndFile() : Ok();
}

Result<void> TarSplitCollector::AddSegment() {
  padding_bytes_ = 0;
  const std::string segment = std::exchange(segment_, {});
  return segment.empty() ? Ok() : writer_->AddSegment(segment);
}

Result<void> TarSplitCollector::OnContent(std::span<const std::byte> bytes) {
  if (!agrees_) {
    return Ok();
  }
  crc_.Update(bytes);
  left_ -= std::min<uint64_t>(left_, bytes.size());
  return left_ == 0 ? EndFile() : Ok();
}

Result<void> TarSplitCollector::EndFile() { return writer_->AddFile(name_, size_, crc_.value()); }

Result<TarSplitWriter::Stream> TarSplitCollector::Finish() {
  if (!agrees_) {
    return TarSplitWriter::Stream();
  }
  FLOE_RETURN_IF_ERROR(AddSegment());
  return writer_->Finish();
}

}  // namespace floe::image
