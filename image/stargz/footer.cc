#include "image/stargz/footer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>

#include "image/little_endian.h"
#include "image/stargz/toc_position.h"

namespace floe::image {
namespace {

constexpr size_t kEstargzBytes = 51;
constexpr size_t kLegacyBytes = 47;
constexpr size_t kExternalBytes = 46;
constexpr size_t kZstdStargzBytes = 40;
constexpr size_t kZstdContainersBytes = 64;

constexpr size_t kGzipHeaderBytes = 10;
constexpr size_t kOffsetDigits = 16;
constexpr std::string_view kGzipStart("\x1f\x8b\x08\x04", 4);   // Deflate, with an extra field.
constexpr std::string_view kEmptyBlock("\x01\0\0\xff\xff", 5);  // Stored, the last one.
constexpr std::string_view kEstargzField("\x1a\0SG\x16\0", 6);  // 26 bytes, "SG" with 22.
constexpr std::string_view kLegacyField("\x16\0", 2);           // 22 bytes.
constexpr std::string_view kExternalField("\x15\0SG\x11\0STARGZEXTERNALTOC", 23);
constexpr std::string_view kOffsetMark = "STARGZ";
constexpr std::string_view kStargzMagic = "GnUlInUx";
constexpr std::string_view kContainersMagic = "GNUlInUx";

std::optional<uint64_t> ParseHex(std::string_view digits) {
  uint64_t value = 0;
  const char* const begin = digits.data();
  const char* const end = begin + digits.size();
  const auto [stop, status] = std::from_chars(begin, end, value, 16);
  return status == std::errc() && stop == end ? std::optional(value) : std::nullopt;
}

// The extra field of the gzip member that is all of `footer`; empty when it is no such member.
// Time, level and system in its header may be anything.
std::string_view ExtraField(std::string_view footer) {
  const size_t after = kEmptyBlock.size() + 8;  // CRC-32 and length of nothing: zeros.
  if (!footer.starts_with(kGzipStart) || footer.size() < kGzipHeaderBytes + after) {
    return {};
  }
  const std::string_view end = footer.substr(footer.size() - after);
  const bool is_empty = end.starts_with(kEmptyBlock) &&
                        end.substr(kEmptyBlock.size()).find_first_not_of('\0') == end.npos;
  return is_empty ? footer.substr(kGzipHeaderBytes, footer.size() - kGzipHeaderBytes - after)
                  : std::string_view();
}

// The TOC's offset from "PREFIX + 16 hex digits + STARGZ".
std::optional<uint64_t> OffsetInField(std::string_view field, std::string_view prefix) {
  if (field.size() != prefix.size() + kOffsetDigits + kOffsetMark.size() ||
      !field.starts_with(prefix) || !field.ends_with(kOffsetMark)) {
    return std::nullopt;
  }
  return ParseHex(field.substr(prefix.size(), kOffsetDigits));
}

Result<Footer> GzipFooter(FooterKind kind, uint64_t offset, size_t footer_bytes, uint64_t blob) {
  const uint64_t end = blob - footer_bytes;
  if (offset == 0 || offset >= end) {
    return DataLoss("its footer puts the table of contents at {} of {} bytes", offset, blob);
  }
  return Footer{.kind = kind, .toc = {offset, end - offset}, .payload_end = offset};
}

Result<Footer> ZstdFooter(FooterKind kind, const std::byte* words, size_t footer_bytes,
                          uint64_t blob) {
  std::array<uint64_t, 4> numbers;
  for (size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = LoadLittleEndian<uint64_t>(words + i * sizeof(uint64_t));
  }
  const TocPosition position{.toc = {numbers[0], numbers[1]}, .decoded_length = numbers[2]};
  FLOE_RETURN_IF_ERROR(CheckTocPosition(position, numbers[3], blob - footer_bytes));
  return Footer{.kind = kind,
                .toc = position.toc,
                .toc_decoded_length = position.decoded_length,
                .payload_end = position.toc.offset - kSkippableHeaderBytes};
}

}  // namespace

Result<Footer> ParseFooter(std::span<const std::byte> tail, uint64_t blob_size_bytes) {
  const std::string_view text(reinterpret_cast<const char*>(tail.data()), tail.size());
  const auto last = [&](size_t n) { return text.substr(text.size() - std::min(n, text.size())); };
  if (tail.size() > blob_size_bytes) {
    return Internal("{} last bytes of a blob of {}", tail.size(), blob_size_bytes);
  }
  if (const auto at = OffsetInField(ExtraField(last(kEstargzBytes)), kEstargzField)) {
    return GzipFooter(FooterKind::kEstargz, *at, kEstargzBytes, blob_size_bytes);
  }
  if (const auto at = OffsetInField(ExtraField(last(kLegacyBytes)), kLegacyField)) {
    return GzipFooter(FooterKind::kLegacyStargz, *at, kLegacyBytes, blob_size_bytes);
  }
  if (ExtraField(last(kExternalBytes)) == kExternalField) {
    return Footer{.kind = FooterKind::kExternalToc,
                  .toc = {},
                  .payload_end = blob_size_bytes - kExternalBytes};
  }
  if (tail.size() >= kZstdStargzBytes && text.ends_with(kStargzMagic)) {
    return ZstdFooter(FooterKind::kZstdStargz, tail.last(kZstdStargzBytes).data(), kZstdStargzBytes,
                      blob_size_bytes);
  }
  if (tail.size() >= kZstdContainersBytes && text.ends_with(kContainersMagic)) {
    return ZstdFooter(FooterKind::kZstdContainers, tail.last(kZstdContainersBytes).data(),
                      kZstdContainersBytes, blob_size_bytes);
  }
  return NotFound("its last bytes are no footer of eStargz or zstd:chunked");
}

}  // namespace floe::image
