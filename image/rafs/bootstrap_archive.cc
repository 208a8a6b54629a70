#include "image/rafs/bootstrap_archive.h"

#include <algorithm>
#include <array>
#include <vector>

#include "image/inflate_stream.h"
#include "image/tar_reader.h"

namespace floe::image::rafs {
namespace {

constexpr std::string_view kDirectory = "image/";
constexpr std::string_view kBootstrapName = "image.boot";
constexpr std::string_view kChunkInfoSuffix = ".blob.meta";
constexpr std::array kGzipMagic = {std::byte{0x1F}, std::byte{0x8B}};
constexpr size_t kPieceBytes = 64U << 10U;

// Appends what one call of inflate gives; true at the end of a member.
Result<bool> InflatePiece(InflateStream& stream, std::string& to, uint64_t limit_bytes) {
  std::array<std::byte, kPieceBytes> piece;  // NOLINT(*-member-init): inflate fills it.
  stream.SetOutput(piece);
  const int status = inflate(&stream.z(), Z_NO_FLUSH);
  const size_t size = piece.size() - stream.z().avail_out;
  if (status != Z_OK && status != Z_STREAM_END) {
    return InvalidArgument("bootstrap layer: gzip: {}",
                           status == Z_BUF_ERROR ? "it ends early" : stream.message());
  }
  if (size > limit_bytes - to.size()) {
    return DataLoss("bootstrap layer: more than {} bytes", limit_bytes);
  }
  to.append(reinterpret_cast<const char*>(piece.data()), size);
  return status == Z_STREAM_END;
}

Result<std::string> Gunzip(Bytes layer, uint64_t limit_bytes) {
  InflateStream stream;
  std::string archive;
  while (!layer.empty()) {
    FLOE_RETURN_IF_ERROR(stream.StartGzip());
    stream.SetInput(layer);
    for (bool ended = false; !ended;) {
      FLOE_ASSIGN_OR_RETURN(ended, InflatePiece(stream, archive, limit_bytes));
    }
    layer = layer.last(stream.z().avail_in);
  }
  return archive;
}

Result<std::string> Decompress(Bytes layer, uint64_t limit_bytes) {
  if (layer.size() > limit_bytes) {
    return DataLoss("bootstrap layer: more than {} bytes", limit_bytes);
  }
  if (layer.size() < kGzipMagic.size() ||
      !std::ranges::equal(layer.first(kGzipMagic.size()), kGzipMagic)) {
    return std::string(reinterpret_cast<const char*>(layer.data()), layer.size());
  }
  return Gunzip(layer, limit_bytes);
}

// "./image/x" and "image/x" as "x"; empty for what lies elsewhere.
std::string_view BaseName(std::string_view name) {
  if (name.starts_with("./")) {
    name.remove_prefix(2);
  }
  if (name.starts_with(kDirectory)) {
    name.remove_prefix(kDirectory.size());
  }
  return name.find('/') == std::string_view::npos ? name : std::string_view();
}

struct File {
  std::string name;
  ByteRange range;
};

class FileCollector final : public TarEntrySink {
 public:
  Result<void> OnEntry(const TarEntry& entry) override {
    const std::string_view name = BaseName(entry.name);
    const bool wanted = name == kBootstrapName || name.ends_with(kChunkInfoSuffix);
    if (entry.type != '0' || !wanted || entry.data.size() != 1 ||
        entry.data.front().length != entry.size_bytes) {
      return Ok();
    }
    files.push_back({std::string(name), {entry.data.front().archive_offset, entry.size_bytes}});
    return Ok();
  }

  std::vector<File> files;
};

}  // namespace

Result<BootstrapArchive> BootstrapArchive::Read(Bytes layer, uint64_t limit_bytes) {
  BootstrapArchive archive;
  FLOE_ASSIGN_OR_RETURN(archive.archive_, Decompress(layer, limit_bytes));
  FileCollector collector;
  TarReader reader(collector);
  auto read = reader.Feed(archive.At({0, archive.archive_.size()}));
  if (read) {
    read = reader.Finish();
  }
  if (!read) {
    return WithContext(read.error(), "bootstrap layer");
  }
  for (const File& file : collector.files) {
    if (file.name != kBootstrapName) {
      const std::string id = file.name.substr(0, file.name.size() - kChunkInfoSuffix.size());
      archive.chunk_info_[id] = file.range;
    } else if (archive.bootstrap_.empty()) {
      archive.bootstrap_ = file.range;
    } else {
      return InvalidArgument("bootstrap layer: two files {}", kBootstrapName);
    }
  }
  if (archive.bootstrap_.empty()) {
    return InvalidArgument("bootstrap layer: no file {}{}", kDirectory, kBootstrapName);
  }
  return archive;
}

Bytes BootstrapArchive::ChunkInfoFile(const Digest& layer) const {
  const auto found = chunk_info_.find(layer.hex());
  return found == chunk_info_.end() ? Bytes() : At(found->second);
}

}  // namespace floe::image::rafs
