#include "image/soci/ztoc.h"

#include <limits>
#include <optional>

#include "base/quote.h"
#include "image/rfc3339.h"
#include "image/soci/ztoc_checkpoints.h"
#include "image/tar_header.h"
#include "soci/ztoc_generated.h"

namespace floe::image {
namespace {

namespace fbs = soci::fbs;

constexpr std::string_view kVersion = "0.9";
constexpr int kGzip = 1;
constexpr int kUncompressed = 2;

// Ztoc -> TOC -> FileMetadata -> Xattr.
constexpr uint32_t kMaxDepth = 4;
// A table with a string takes at least this much of the bytes, with the reference to it. Tables can
// be referred to any number of times, so their number needs a limit of its own ...
constexpr size_t kMinTableBytes = 16;
constexpr size_t kFewTables = 64;
// ... and so does what the strings of all entries come to: writers may well share some.
constexpr uint64_t kStringSharing = 4;

std::string_view View(const flatbuffers::String* string) {
  return string == nullptr ? std::string_view() : string->string_view();
}

template <typename T>
size_t SizeOf(const flatbuffers::Vector<T>* vector) {
  return vector == nullptr ? 0 : vector->size();
}

Result<uint64_t> CheckSize(std::string_view what, int64_t size) {
  if (size < 0) {
    return DataLoss("{} of {} bytes", what, size);
  }
  return static_cast<uint64_t>(size);
}

Result<const fbs::Ztoc*> Verify(const std::string& bytes) {
  if (bytes.size() > kMaxZtocBytes) {
    return InvalidArgument("a ztoc of {} bytes, at most {}", bytes.size(), kMaxZtocBytes);
  }
  flatbuffers::Verifier::Options options;
  options.max_depth = kMaxDepth;
  options.max_tables = static_cast<uint32_t>(bytes.size() / kMinTableBytes + kFewTables);
  flatbuffers::Verifier verifier(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(),
                                 options);
  if (!verifier.VerifyBuffer<fbs::Ztoc>(nullptr)) {
    return InvalidArgument("{} bytes are not a ztoc", bytes.size());
  }
  const auto* root = flatbuffers::GetRoot<fbs::Ztoc>(bytes.data());
  if (root->toc() == nullptr || root->compression_info() == nullptr) {
    return InvalidArgument("a ztoc without table of contents or compression info");
  }
  if (View(root->version()) != kVersion) {
    return Unimplemented("a ztoc of version {}", Quote(View(root->version())));
  }
  return root;
}

// --- spans ---

Result<ZtocCheckpoints> ReadCheckpoints(const fbs::CompressionInfo& info, Ztoc& ztoc) {
  const auto* vector = info.checkpoints();
  const std::string_view bytes(
      vector == nullptr ? "" : reinterpret_cast<const char*>(vector->data()), SizeOf(vector));
  switch (info.compression_algorithm()) {
    case kGzip:
      ztoc.algorithm = ZtocAlgorithm::kGzip;
      return ParseGzipCheckpoints(bytes, ztoc.blob_bytes, ztoc.archive_bytes);
    case kUncompressed:
      ztoc.algorithm = ZtocAlgorithm::kUncompressed;
      return ParseTarCheckpoints(bytes, ztoc.blob_bytes, ztoc.archive_bytes,
                                 SizeOf(info.span_digests()));
    default:
      return Unimplemented("a ztoc with compression algorithm {}", info.compression_algorithm());
  }
}

Result<void> ReadSpans(const fbs::CompressionInfo& info, Ztoc& ztoc) {
  FLOE_ASSIGN_OR_RETURN(ZtocCheckpoints checkpoints, ReadCheckpoints(info, ztoc));
  ztoc.start_is_implied = checkpoints.start_is_implied;
  ztoc.spans = std::move(checkpoints.spans);
  const size_t digests = SizeOf(info.span_digests());
  if (digests != ztoc.spans.size() || int64_t{info.max_span_id()} + 1 != std::ssize(ztoc.spans)) {
    return DataLoss("{} spans, but {} digests, and the last one is {}", ztoc.spans.size(), digests,
                    info.max_span_id());
  }
  for (uint32_t i = 0; i < digests; ++i) {
    auto digest = Digest::Parse(View(info.span_digests()->Get(i)));
    if (!digest.has_value()) {
      return WithContext(std::move(digest).error(), fmt::format("span {}", i));
    }
    ztoc.spans[i].digest = digest->bytes();
  }
  return Ok();
}

// --- entries ---

std::optional<char> TypeFlag(std::string_view type) {
  constexpr std::pair<std::string_view, char> kTypes[] = {
      {"reg", '0'},   {"hardlink", '1'}, {"symlink", '2'}, {"char", '3'},
      {"block", '4'}, {"dir", '5'},      {"fifo", '6'}};
  for (const auto& [name, flag] : kTypes) {
    if (name == type) {
      return flag;
    }
  }
  return std::nullopt;
}

/// Reads entries one after the other; checks what one entry alone does not show.
class EntryReader {
 public:
  EntryReader(uint64_t archive_bytes, uint64_t string_bytes)
      : archive_bytes_(archive_bytes), string_bytes_left_(string_bytes) {}

  Result<ZtocEntry> Read(const fbs::FileMetadata& metadata);

 private:
  Result<void> ReadPaxRecords(const fbs::FileMetadata& metadata, ZtocEntry& entry);
  Result<void> ReadData(const fbs::FileMetadata& metadata, ZtocEntry& entry);
  Result<std::string_view> Take(const flatbuffers::String* string);

  const uint64_t archive_bytes_;
  uint64_t string_bytes_left_;
  uint64_t next_header_ = 0;  ///< In the archive: nothing of the next entry can be before it.
};

Result<std::string_view> EntryReader::Take(const flatbuffers::String* string) {
  const std::string_view view = View(string);
  if (view.size() > string_bytes_left_) {
    return DataLoss("its strings are several times larger than all of it");
  }
  string_bytes_left_ -= view.size();
  return view;
}

Result<void> EntryReader::ReadPaxRecords(const fbs::FileMetadata& metadata, ZtocEntry& entry) {
  const size_t count = SizeOf(metadata.xattrs());
  entry.pax_records.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    const fbs::Xattr& record = *metadata.xattrs()->Get(i);
    FLOE_ASSIGN_OR_RETURN(const std::string_view keyword, Take(record.key()));
    FLOE_ASSIGN_OR_RETURN(const std::string_view value, Take(record.value()));
    entry.pax_records.emplace_back(keyword, value);
  }
  return Ok();
}

//  archive  | header blocks | data | pad | header blocks | data | pad |
//                           ^ uncompressed_offset        ^
Result<void> EntryReader::ReadData(const fbs::FileMetadata& metadata, ZtocEntry& entry) {
  FLOE_ASSIGN_OR_RETURN(const uint64_t offset,
                        CheckSize("an offset", metadata.uncompressed_offset()));
  // Only regular files have content, whatever the size field of others says.
  uint64_t length = 0;
  if (entry.type == '0') {
    FLOE_ASSIGN_OR_RETURN(length, CheckSize("a file", metadata.uncompressed_size()));
  }
  if (offset > archive_bytes_ || length > archive_bytes_ - offset) {
    return DataLoss("bytes {}+{} of an archive of {}", offset, length, archive_bytes_);
  }
  if (offset % kTarBlockBytes != 0 || offset < next_header_ + kTarBlockBytes) {
    return DataLoss("its data begin at {}, its header not before {}", offset, next_header_);
  }
  entry.data = {.offset = offset, .length = length};
  next_header_ = AlignUp(entry.data.end(), kTarBlockBytes);
  return Ok();
}

// Go writes nothing for a year beyond 9999, and containerd takes such times for the epoch.
Result<PaxTime> ReadTime(const flatbuffers::String* text) {
  return View(text).empty() ? PaxTime() : ParseRfc3339(View(text));
}

Result<ZtocEntry> EntryReader::Read(const fbs::FileMetadata& metadata) {
  ZtocEntry entry;
  const std::optional<char> type = TypeFlag(View(metadata.type()));
  if (!type.has_value()) {
    return InvalidArgument("of type {}", Quote(View(metadata.type())));
  }
  entry.type = *type;
  FLOE_ASSIGN_OR_RETURN(entry.name, Take(metadata.name()));
  FLOE_ASSIGN_OR_RETURN(entry.link_name, Take(metadata.linkname()));
  FLOE_ASSIGN_OR_RETURN(entry.mtime, ReadTime(metadata.mod_time()));
  entry.mode = metadata.mode();
  entry.uid = metadata.uid();
  entry.gid = metadata.gid();
  entry.dev_major = metadata.devmajor();
  entry.dev_minor = metadata.devminor();
  FLOE_RETURN_IF_ERROR(ReadPaxRecords(metadata, entry));
  FLOE_RETURN_IF_ERROR(ReadData(metadata, entry));
  return entry;
}

Result<void> ReadEntries(const fbs::TOC& toc, uint64_t string_bytes, Ztoc& ztoc) {
  EntryReader reader(ztoc.archive_bytes, string_bytes);
  const size_t count = SizeOf(toc.metadata());
  ztoc.entries.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    Result<ZtocEntry> entry = reader.Read(*toc.metadata()->Get(i));
    if (!entry.has_value()) {
      return WithContext(
          std::move(entry).error(),
          fmt::format("entry {} {}", i, Quote(View(toc.metadata()->Get(i)->name()))));
    }
    ztoc.entries.push_back(std::move(entry).value());
  }
  return Ok();
}

}  // namespace

Result<Ztoc> ParseZtoc(const std::string& bytes) {
  FLOE_ASSIGN_OR_RETURN(const fbs::Ztoc* root, Verify(bytes));
  Ztoc ztoc;
  FLOE_ASSIGN_OR_RETURN(ztoc.blob_bytes, CheckSize("a layer", root->compressed_archive_size()));
  FLOE_ASSIGN_OR_RETURN(ztoc.archive_bytes,
                        CheckSize("an archive", root->uncompressed_archive_size()));
  FLOE_RETURN_IF_ERROR(ReadSpans(*root->compression_info(), ztoc));
  FLOE_RETURN_IF_ERROR(ReadEntries(*root->toc(), kStringSharing * bytes.size(), ztoc));
  return ztoc;
}

Result<void> CheckImpliedGzipHeader(std::span<const std::byte> first_bytes) {
  constexpr std::byte kMagic[] = {std::byte{0x1F}, std::byte{0x8B}, std::byte{8}};
  constexpr size_t kFlagsAt = 3;
  if (first_bytes.size() < kPlainGzipHeaderBytes ||
      !std::equal(std::begin(kMagic), std::end(kMagic), first_bytes.begin())) {
    return InvalidArgument("the layer does not begin with a gzip header");
  }
  if (first_bytes[kFlagsAt] != std::byte{0}) {
    return Unimplemented(
        "the ztoc's first span begins inside the layer's gzip header, which has optional fields");
  }
  return Ok();
}

}  // namespace floe::image
