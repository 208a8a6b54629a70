#include "tests/image/soci/ztoc_support.h"

#include <algorithm>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/digest.h"
#include "image/gzip_scanner.h"
#include "image/little_endian.h"
#include "image/tar_reader.h"

namespace floe::image {
namespace {

namespace fbs = soci::fbs;

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string TypeName(char type) {
  constexpr std::string_view kFlags = "0123456";
  constexpr const char* kNames[] = {"reg", "hardlink", "symlink", "char", "block", "dir", "fifo"};
  return kNames[kFlags.find(type)];
}

/// Times of tests are whole days and seconds of 2023-11-14, or come from the caller.
constexpr const char* kTime = "2023-11-14T22:13:20Z";

class EntrySink final : public TarEntrySink {
 public:
  Result<void> OnEntry(const TarEntry& entry) override {
    auto metadata = std::make_unique<fbs::FileMetadataT>();
    metadata->name = entry.name;
    metadata->type = TypeName(entry.type);
    metadata->linkname = entry.link_name;
    metadata->uncompressed_offset =
        static_cast<int64_t>(entry.data.empty() ? 0 : entry.data.front().archive_offset);
    metadata->uncompressed_size = static_cast<int64_t>(entry.size_bytes);
    metadata->mode = entry.mode;
    metadata->uid = static_cast<uint32_t>(entry.uid);
    metadata->gid = static_cast<uint32_t>(entry.gid);
    metadata->mod_time = kTime;
    metadata->devmajor = entry.dev_major;
    metadata->devminor = entry.dev_minor;
    for (const auto& [name, value] : entry.xattrs) {
      auto xattr = std::make_unique<fbs::XattrT>();
      xattr->key = "SCHILY.xattr." + name;
      xattr->value = value;
      metadata->xattrs.push_back(std::move(xattr));
    }
    entries.push_back(std::move(metadata));
    return Ok();
  }

  std::vector<std::unique_ptr<fbs::FileMetadataT>> entries;
};

/// An entry without data is where its one header block ends.
void ReadEntries(std::string_view archive, fbs::TOCT& toc) {
  EntrySink sink;
  TarReader reader(sink);
  FLOE_CHECK(reader.Feed(Bytes(archive)).has_value());
  int64_t end = 0;
  for (const auto& entry : sink.entries) {
    if (entry->uncompressed_offset == 0) {
      entry->uncompressed_offset = end + static_cast<int64_t>(kTarBlockBytes);
    }
    end = static_cast<int64_t>(
        AlignUp(static_cast<uint64_t>(entry->uncompressed_offset + entry->uncompressed_size), 512));
  }
  toc.metadata = std::move(sink.entries);
}

class UnitSink final : public ScanSink {
 public:
  Result<void> OnDecoded(std::span<const std::byte> /*bytes*/) override { return Ok(); }
  Result<void> OnUnit(const ScannedUnit& unit) override {
    units.push_back(unit);
    return Ok();
  }
  std::vector<ScannedUnit> units;
};

void AppendRecord(uint64_t in, uint64_t out, uint8_t bits, std::string_view archive,
                  std::string& to) {
  AppendLittleEndian(to, in);
  AppendLittleEndian(to, out);
  AppendLittleEndian(to, bits);
  const size_t known = std::min<uint64_t>(out, 32768);
  to.append(32768 - known, '\x5A');  // What nobody may look at.
  to += archive.substr(out - known, known);
}

void AddDigest(std::string_view blob, uint64_t begin, uint64_t end, fbs::CompressionInfoT& info) {
  info.span_digests.push_back(Digest::Of(blob.substr(begin, end - begin)).ToString());
}

void DescribeGzip(std::string_view archive, std::string_view blob, const TestZtocOptions& options,
                  fbs::CompressionInfoT& info) {
  UnitSink sink;
  auto scanner = GzipScanner::Create({.span_bytes = options.span_bytes}, sink);
  FLOE_CHECK((*scanner)->Feed(Bytes(blob)).has_value() && (*scanner)->Finish().has_value());
  std::string zinfo;
  AppendLittleEndian(zinfo, static_cast<uint32_t>(sink.units.size()));
  AppendLittleEndian(zinfo, options.span_bytes);
  uint64_t out = 0;
  std::vector<uint64_t> in;
  for (const ScannedUnit& unit : sink.units) {
    const bool shares = unit.bits != 0;
    in.push_back(unit.range.offset + (unit.codec == Codec::kGzip ? options.header_bytes : shares));
    if (out > 0 || !options.implied_start) {
      AppendRecord(in.back(), out, unit.bits, archive, zinfo);
    }
    out += unit.decoded_length;
  }
  if (options.implied_start) {
    in.front() = 10;
  }
  in.push_back(blob.size());
  for (size_t i = 0; i < sink.units.size(); ++i) {
    AddDigest(blob, in[i] - (sink.units[i].bits != 0 ? 1 : 0), in[i + 1], info);
  }
  info.compression_algorithm = 1;
  info.checkpoints.assign(zinfo.begin(), zinfo.end());
}

void DescribePlain(std::string_view blob, const TestZtocOptions& options,
                   fbs::CompressionInfoT& info) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(fbs::CreateTarZinfo(builder, 1, static_cast<int64_t>(options.span_bytes),
                                     static_cast<int64_t>(blob.size())));
  info.compression_algorithm = 2;
  info.checkpoints.assign(builder.GetBufferPointer(),
                          builder.GetBufferPointer() + builder.GetSize());
  for (uint64_t at = 0; at < blob.size(); at += options.span_bytes) {
    AddDigest(blob, at, std::min(at + options.span_bytes, blob.size()), info);
  }
}

}  // namespace

fbs::ZtocT MakeZtoc(std::string_view archive, std::string_view blob,
                    const TestZtocOptions& options) {
  fbs::ZtocT ztoc;
  ztoc.version = "0.9";
  ztoc.build_tool_identifier = "a test";
  ztoc.compressed_archive_size = static_cast<int64_t>(blob.size());
  ztoc.uncompressed_archive_size = static_cast<int64_t>(archive.size());
  ztoc.toc = std::make_unique<fbs::TOCT>();
  ReadEntries(archive, *ztoc.toc);
  ztoc.compression_info = std::make_unique<fbs::CompressionInfoT>();
  fbs::CompressionInfoT& info = *ztoc.compression_info;
  if (options.uncompressed) {
    DescribePlain(blob, options, info);
  } else {
    DescribeGzip(archive, blob, options, info);
  }
  info.max_span_id = static_cast<int32_t>(info.span_digests.size()) - 1;
  return ztoc;
}

std::string PackZtoc(const fbs::ZtocT& ztoc) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(fbs::CreateZtoc(builder, &ztoc));
  return {reinterpret_cast<const char*>(builder.GetBufferPointer()), builder.GetSize()};
}

fbs::ZtocT UnpackZtoc(const std::string& bytes) {
  fbs::ZtocT ztoc;
  flatbuffers::GetRoot<fbs::Ztoc>(bytes.data())->UnPackTo(&ztoc);
  return ztoc;
}

}  // namespace floe::image
