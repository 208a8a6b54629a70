#include "image/rafs/toc.h"

#include <bit>
#include <charconv>
#include <string_view>

namespace floe::image::rafs {
namespace {

constexpr size_t kHeaderBytes = 512;
constexpr size_t kEntryBytes = 128;
constexpr size_t kMaxEntries = 64;
constexpr uint32_t kCompressionMask = 0xF;
constexpr std::string_view kDataName = "image.blob";
constexpr std::string_view kTocName = "rafs.blob.toc";
constexpr size_t kSizeAt = 124;  // Of a ustar header: 12 bytes, octal.
constexpr size_t kSizeBytes = 12;

std::string_view Text(Bytes bytes) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return text.substr(0, text.find('\0'));
}

Result<uint64_t> ReadSize(const Record& header) {
  std::string_view text = Text(header.Part(kSizeAt, kSizeBytes));
  text = text.substr(0, text.find(' '));
  uint64_t size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size, 8);
  if (error != std::errc() || end != text.data() + text.size() || size % kEntryBytes != 0 ||
      size > kMaxEntries * kEntryBytes) {
    return DataLoss("table of contents: a header with a bad size");
  }
  return size;
}

Result<TocEntry> ReadEntry(const Record& record, uint64_t blob_bytes) {
  TocEntry entry;
  entry.name = Text(record.Part(8, 16));
  const uint32_t compression = record.U32(0) & kCompressionMask;
  entry.compression = static_cast<TocCompression>(compression);
  for (size_t i = 0; i < entry.digest.size(); ++i) {
    entry.digest[i] = record.U8(24 + i);
  }
  entry.compressed = {record.U64(56), record.U64(64)};
  entry.uncompressed_bytes = record.U64(72);
  if (entry.name == kDataName) {
    entry.compressed.offset = 0;  // Builder 2.2 writes the length here.
  }
  if (!std::has_single_bit(compression) ||
      compression > static_cast<uint32_t>(TocCompression::kLz4)) {
    return Unimplemented("table of contents: compression {:#x}", compression);
  }
  if (!entry.compressed.IsValid() || entry.compressed.end() > blob_bytes) {
    return DataLoss("table of contents: an entry at {}+{} of {}", entry.compressed.offset,
                    entry.compressed.length, blob_bytes);
  }
  return entry;
}

}  // namespace

Result<Toc> ReadToc(Bytes end, uint64_t blob_bytes) {
  if (end.size() > blob_bytes) {
    return Internal("{} bytes of a blob of {}", end.size(), blob_bytes);
  }
  if (end.size() < kHeaderBytes || Text(end.last(kHeaderBytes).first(100)) != kTocName) {
    return NotFound("no table of contents");
  }
  FLOE_ASSIGN_OR_RETURN(const uint64_t size, ReadSize(Record(end.last(kHeaderBytes))));
  if (size + kHeaderBytes > end.size()) {
    return DataLoss("table of contents: {} bytes of {}", end.size(), size + kHeaderBytes);
  }
  Toc toc;
  toc.bytes = size + kHeaderBytes;
  const Bytes table = end.last(toc.bytes);
  toc.digest = Digest::Of(table);
  for (size_t at = 0; at < size; at += kEntryBytes) {
    FLOE_ASSIGN_OR_RETURN(TocEntry entry,
                          ReadEntry(Record(table.subspan(at, kEntryBytes)), blob_bytes));
    toc.entries.push_back(std::move(entry));
  }
  return toc;
}

}  // namespace floe::image::rafs
