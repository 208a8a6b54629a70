#include "image/stargz/toc.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "base/digest.h"
#include "base/quote.h"
#include "image/rfc3339.h"
#include "image/stargz/toc_fields.h"
#include "image/stargz/toc_json.h"

namespace floe::image {
namespace {

// The type flag of an archive that means the same; 0 when the word is not known.
char TypeFlag(std::string_view type) {
  constexpr std::pair<std::string_view, char> kTypes[] = {
      {"reg", '0'},   {"hardlink", '1'}, {"symlink", '2'}, {"char", '3'},
      {"block", '4'}, {"dir", '5'},      {"fifo", '6'}};
  for (const auto& [word, flag] : kTypes) {
    if (word == type) {
      return flag;
    }
  }
  return 0;
}

Result<Digest> ReadDigest(const std::string& text) {
  auto digest = Digest::Parse(text);
  if (!digest.has_value()) {
    return InvalidArgument("{} is no sha256 digest", Quote(text));
  }
  return digest;
}

Result<TarEntry> ReadHeader(const TocRecord& record) {
  TarEntry header;
  header.type = TypeFlag(record.type);
  if (header.type == 0) {
    return InvalidArgument("unknown type {}", Quote(record.type));
  }
  if (record.name.empty() && header.type != '5') {
    return InvalidArgument("no name");
  }
  header.name = record.name.empty() ? "." : record.name;  // Some writers clean the root away.
  header.link_name = record.link_name;
  header.mode = record.mode;
  header.uid = record.uid;
  header.gid = record.gid;
  header.dev_major = record.dev_major;
  header.dev_minor = record.dev_minor;
  if (!record.modtime.empty()) {
    const auto time = ParseRfc3339(record.modtime);
    if (!time) {
      return WithContext(time.error(), "modtime");
    }
    header.mtime_seconds = time->seconds;
    header.mtime_nanoseconds = time->nanoseconds;
  }
  for (const auto& [name, text] : record.xattrs) {
    auto value = DecodeBase64(text);
    if (!value) {
      return InvalidArgument("the value of attribute {} is no base64", Quote(name));
    }
    header.xattrs.emplace_back(name, *std::move(value));
  }
  return header;
}

// Collects the table entry by entry.
class TocReader {
 public:
  explicit TocReader(const TocLimits& limits) : limits_(limits) {}

  Result<void> OnRecord(const TocRecord& record);
  Result<Toc> Finish();

 private:
  /// The regular file whose chunks come.
  struct File {
    uint64_t size = 0;
    uint64_t filled = 0;  ///< Chunks and holes tile [0, filled).
    uint32_t pieces = 0;  ///< Chunks and holes.
    uint64_t end_offset = 0;
    std::optional<Digest> digest;
  };

  Result<void> OpenFile(const TocRecord& record);
  Result<void> AddPiece(const TocRecord& record);
  Result<void> AddChunk(const TocRecord& record, uint64_t length);
  Result<void> CloseFile();
  Result<void> SettleDigests(TocEntry& entry);
  Result<void> SettleEnd(TocEntry& entry);

  const TocLimits limits_;
  Toc toc_;
  File file_;
  bool in_file_ = false;  ///< file_ means something.
};

Result<void> TocReader::OnRecord(const TocRecord& record) {
  if (record.type == "chunk") {
    return AddPiece(record);
  }
  FLOE_RETURN_IF_ERROR(CloseFile());
  FLOE_ASSIGN_OR_RETURN(TarEntry header, ReadHeader(record));
  toc_.entries.push_back(
      {.header = std::move(header), .first_chunk = static_cast<uint32_t>(toc_.chunks.size())});
  return record.type == "reg" ? OpenFile(record) : Ok();
}

Result<void> TocReader::OpenFile(const TocRecord& record) {
  if (record.size < 0 || static_cast<uint64_t>(record.size) > kMaxFileBytes) {
    return InvalidArgument("a size of {} bytes", record.size);
  }
  File file;
  file.size = static_cast<uint64_t>(record.size);
  if (record.end_offset < 0) {
    return InvalidArgument("endOffset is {}", record.end_offset);
  }
  file.end_offset = static_cast<uint64_t>(record.end_offset);
  if (!record.digest.empty()) {
    FLOE_ASSIGN_OR_RETURN(file.digest, ReadDigest(record.digest));
  }
  toc_.entries.back().header.size_bytes = file.size;
  file_ = file;
  in_file_ = true;
  return file.size == 0 ? Ok() : AddPiece(record);
}

// A chunk or a hole, right behind the last one. A size of 0 means all that is left.
Result<void> TocReader::AddPiece(const TocRecord& record) {
  if (!in_file_) {
    return InvalidArgument("a chunk of no file");
  }
  const uint64_t left = file_.size - file_.filled;
  if (record.chunk_offset < 0 || record.chunk_size < 0) {
    return InvalidArgument("a chunk of {} bytes at {}", record.chunk_size, record.chunk_offset);
  }
  const auto at = static_cast<uint64_t>(record.chunk_offset);
  const uint64_t length = record.chunk_size == 0 ? left : static_cast<uint64_t>(record.chunk_size);
  if (at != file_.filled || length == 0 || length > left) {
    return DataLoss("a chunk of {} bytes at {}, where {} of {} bytes are told", length, at,
                    file_.filled, file_.size);
  }
  if (record.chunk_type.empty()) {
    FLOE_RETURN_IF_ERROR(AddChunk(record, length));
  } else if (record.chunk_type != "zeros") {
    return InvalidArgument("unknown chunk type {}", Quote(record.chunk_type));
  }
  file_.filled += length;
  ++file_.pieces;
  return Ok();
}

Result<void> TocReader::AddChunk(const TocRecord& record, uint64_t length) {
  if (record.offset <= 0 || record.inner_offset < 0 ||
      static_cast<uint64_t>(record.offset) >= limits_.payload_end) {
    return DataLoss("a chunk in the blob at {} (in it at {}), whose data ends at {}", record.offset,
                    record.inner_offset, limits_.payload_end);
  }
  TocChunk chunk{.file_offset = file_.filled,
                 .length = length,
                 .offset = static_cast<uint64_t>(record.offset),
                 .inner_offset = static_cast<uint64_t>(record.inner_offset),
                 .end_offset = limits_.payload_end,
                 .digest_kind = DigestKind::kNone};
  if (length > kMaxUnitBytes || chunk.inner_offset > kMaxUnitBytes - length) {
    return Unimplemented("{} bytes must be decoded for a chunk of {}, at most {}",
                         chunk.inner_offset + length, length, kMaxUnitBytes);
  }
  if (!record.chunk_digest.empty()) {
    FLOE_ASSIGN_OR_RETURN(const Digest digest, ReadDigest(record.chunk_digest));
    chunk.digest_kind = DigestKind::kSha256;
    chunk.digest = digest.bytes();
  }
  if (toc_.chunks.size() == std::numeric_limits<uint32_t>::max()) {
    return InvalidArgument("too many chunks");
  }
  toc_.chunks.push_back(chunk);
  ++toc_.entries.back().chunk_count;
  return Ok();
}

Result<void> TocReader::CloseFile() {
  if (!in_file_) {
    return Ok();
  }
  TocEntry& entry = toc_.entries.back();
  if (file_.filled != file_.size) {
    return DataLoss("{} before it: its chunks hold {} of {} bytes", Quote(entry.header.name),
                    file_.filled, file_.size);
  }
  if (entry.chunk_count > 0) {
    FLOE_RETURN_IF_ERROR(SettleDigests(entry));
    FLOE_RETURN_IF_ERROR(SettleEnd(entry));
  }
  in_file_ = false;
  return Ok();
}

// The digest of a file is that of its only chunk.
Result<void> TocReader::SettleDigests(TocEntry& entry) {
  TocChunk& first = toc_.chunks[entry.first_chunk];
  if (file_.pieces == 1 && file_.digest) {
    if (first.digest_kind == DigestKind::kNone) {
      first.digest_kind = DigestKind::kSha256;
      first.digest = file_.digest->bytes();
    } else if (first.digest != file_.digest->bytes()) {
      return DataLoss("{}: its digest is not that of its only chunk", Quote(entry.header.name));
    }
  }
  const auto begin = toc_.chunks.begin() + entry.first_chunk;
  const bool has_all = std::all_of(begin, toc_.chunks.end(), [](const TocChunk& chunk) {
    return chunk.digest_kind == DigestKind::kSha256;
  });
  if (!has_all && !limits_.allow_unverified) {
    return FailedPrecondition("{}: chunk digests are missing", Quote(entry.header.name));
  }
  return Ok();
}

Result<void> TocReader::SettleEnd(TocEntry& entry) {
  TocChunk& last = toc_.chunks.back();
  if (file_.end_offset == 0) {
    return Ok();
  }
  if (file_.end_offset <= last.offset || file_.end_offset > limits_.payload_end) {
    return DataLoss("{}: its data begins at {} and ends at {} of {} bytes",
                    Quote(entry.header.name), last.offset, file_.end_offset, limits_.payload_end);
  }
  last.end_offset = file_.end_offset;
  return Ok();
}

Result<Toc> TocReader::Finish() {
  if (Result<void> result = CloseFile(); !result.has_value()) {
    return WithContext(std::move(result).error(), "its table of contents: at its end");
  }
  return std::move(toc_);
}

}  // namespace

Result<Toc> ParseToc(std::string_view json, const TocLimits& limits) {
  TocReader reader(limits);
  FLOE_RETURN_IF_ERROR(
      ReadTocJson(json, [&](const TocRecord& record) { return reader.OnRecord(record); }));
  return reader.Finish();
}

}  // namespace floe::image
