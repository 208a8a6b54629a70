#include "image/convert/seekable_writer.h"

#include <algorithm>
#include <utility>

#include "base/quote.h"
#include "image/convert/seekable_footer.h"
#include "image/layer_index.h"

namespace floe::image {
namespace {

constexpr const char* kZstdMediaType = "application/vnd.oci.image.layer.v1.tar+zstd";
constexpr const char* kGzipMediaType = "application/vnd.oci.image.layer.v1.tar+gzip";

// stargz-snapshotter's annotations, and those of containers/storage.
constexpr const char* kUncompressedSize = "io.containers.estargz.uncompressed-size";
constexpr const char* kStargzChecksum = "io.containers.zstd-chunked.manifest-checksum";
constexpr const char* kStargzPosition = "io.containers.zstd-chunked.manifest-position";
constexpr const char* kPodmanChecksum = "io.github.containers.zstd-chunked.manifest-checksum";
constexpr const char* kPodmanPosition = "io.github.containers.zstd-chunked.manifest-position";
constexpr const char* kPodmanTarSplit = "io.github.containers.zstd-chunked.tarsplit-position";

constexpr int kZstdLevel = 3;
constexpr int kGzipLevel = 6;
constexpr uint64_t kMinChunkBytes = 4096;
/// Of headers and padding in one frame, behind a chunk or alone.
constexpr uint64_t kMaxHeaderFrameBytes = 1U << 20U;

std::span<const std::byte> AsBytes(std::string_view text) { return std::as_bytes(std::span(text)); }

bool IsZstd(const SeekableOptions& options) {
  return options.format == SeekableFormat::kZstdChunked;
}

Result<std::unique_ptr<FrameEncoder>> MakeEncoder(const SeekableOptions& options) {
  if (IsZstd(options)) {
    return MakeZstdEncoder(options.level == 0 ? kZstdLevel : options.level);
  }
  return MakeGzipEncoder(options.level == 0 ? kGzipLevel : options.level);
}

// A regular file whose content in the archive is the file.
bool IsWhole(const TarEntry& entry) {
  if (entry.size_bytes == 0 || entry.size_bytes != entry.content_bytes) {
    return entry.size_bytes == entry.content_bytes;
  }
  return entry.data.size() == 1 && entry.data[0].length == entry.size_bytes &&
         entry.data[0].archive_offset == entry.content_offset;
}

}  // namespace

Result<std::unique_ptr<SeekableWriter>> SeekableWriter::Create(const SeekableOptions& options,
                                                               BlobSink sink) {
  if (options.chunk_bytes < kMinChunkBytes || options.chunk_bytes > kMaxUnitBytes) {
    return InvalidArgument("chunks of {} bytes: {} to {} are possible", options.chunk_bytes,
                           kMinChunkBytes, kMaxUnitBytes);
  }
  FLOE_ASSIGN_OR_RETURN(std::unique_ptr<FrameEncoder> encoder, MakeEncoder(options));
  std::unique_ptr<SeekableWriter> writer(
      new SeekableWriter(options, std::move(encoder), std::move(sink)));
  if (IsZstd(options)) {
    FLOE_ASSIGN_OR_RETURN(auto tar_split, TarSplitWriter::Create(kZstdLevel));
    writer->tar_split_ = std::make_unique<TarSplitCollector>(std::move(tar_split));
  }
  return writer;
}

SeekableWriter::SeekableWriter(const SeekableOptions& options,
                               std::unique_ptr<FrameEncoder> encoder, BlobSink sink)
    : options_(options), writer_(std::move(encoder), std::move(sink)) {}

Result<void> SeekableWriter::OnHeaderBytes(std::span<const std::byte> bytes) {
  if (tar_split_ != nullptr) {
    FLOE_RETURN_IF_ERROR(tar_split_->OnHeaderBytes(bytes));
  }
  return AppendSmall(bytes);
}

// Frames end at the same bytes however the archive comes in pieces.
Result<void> SeekableWriter::AppendSmall(std::span<const std::byte> bytes) {
  const uint64_t limit = options_.chunk_bytes + kMaxHeaderFrameBytes;
  while (!bytes.empty()) {
    const auto part =
        bytes.first(std::min<uint64_t>(bytes.size(), limit - writer_.pending_bytes()));
    bytes = bytes.subspan(part.size());
    writer_.Append(part);
    if (writer_.pending_bytes() == limit) {
      FLOE_RETURN_IF_ERROR(writer_.Flush());
    }
  }
  return Ok();
}

Result<void> SeekableWriter::OnPadding(std::span<const std::byte> bytes) {
  if (tar_split_ != nullptr) {
    FLOE_RETURN_IF_ERROR(tar_split_->OnPadding(bytes));
  }
  return AppendSmall(bytes);
}

Result<void> SeekableWriter::OnEntry(const TarEntry& entry) {
  if (tar_split_ != nullptr) {
    FLOE_RETURN_IF_ERROR(tar_split_->OnEntry(entry));
  }
  if (entry.type == 'g') {
    return Ok();  // Changes no entry (tar_reader.h).
  }
  ++entries_;
  if (entry.type != '0') {
    return toc_.Add(entry, nullptr);
  }
  if (!IsWhole(entry)) {
    return Unimplemented("{} is sparse in the archive, which a table of contents cannot tell",
                         Quote(entry.name));
  }
  entry_ = entry;
  content_ = {};
  file_left_ = entry.size_bytes;
  return file_left_ == 0 ? EndFile() : StartChunk();
}

Result<void> SeekableWriter::OnContent(std::span<const std::byte> bytes) {
  if (tar_split_ != nullptr) {
    FLOE_RETURN_IF_ERROR(tar_split_->OnContent(bytes));
  }
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min<uint64_t>(bytes.size(), chunk_left_));
    bytes = bytes.subspan(part.size());
    writer_.Append(part);
    file_hasher_.Update(part);
    chunk_hasher_.Update(part);
    chunk_left_ -= part.size();
    if (chunk_left_ == 0) {
      FLOE_RETURN_IF_ERROR(EndChunk());
    }
  }
  return Ok();
}

Result<void> SeekableWriter::StartChunk() {
  FLOE_RETURN_IF_ERROR(writer_.Flush());
  chunk_left_ = std::min(file_left_, options_.chunk_bytes);
  content_.chunks.push_back({.blob_offset = writer_.offset(),
                             .file_offset = entry_.size_bytes - file_left_,
                             .length = chunk_left_,
                             .digest = {}});
  return Ok();
}

// podman decodes exactly a chunk's frames, so there the padding goes into another one.
Result<void> SeekableWriter::EndChunk() {
  ++chunks_;
  content_.chunks.back().digest = chunk_hasher_.Finish();
  file_left_ -= content_.chunks.back().length;
  if (IsZstd(options_)) {
    FLOE_RETURN_IF_ERROR(writer_.Flush());
    content_.blob_end = writer_.offset();
  }
  return file_left_ == 0 ? EndFile() : StartChunk();
}

Result<void> SeekableWriter::EndFile() {
  content_.digest = file_hasher_.Finish();
  return toc_.Add(entry_, &content_);
}

Result<SeekableBlob> SeekableWriter::Finish() {
  SeekableBlob blob;
  blob.media_type = IsZstd(options_) ? kZstdMediaType : kGzipMediaType;
  FLOE_RETURN_IF_ERROR(writer_.Flush());
  switch (options_.format) {
    case SeekableFormat::kZstdChunked:
      FLOE_RETURN_IF_ERROR(FinishZstd(blob));
      break;
    case SeekableFormat::kEStargz:
      FLOE_RETURN_IF_ERROR(FinishEStargz(blob));
      break;
    case SeekableFormat::kEStargzExternalToc:
      FLOE_RETURN_IF_ERROR(FinishExternal(blob));
      break;
  }
  blob.size_bytes = writer_.offset();
  blob.archive_bytes = writer_.decoded_bytes();
  blob.digest = writer_.Finish();
  blob.diff_id = writer_.FinishDecoded();
  blob.entries = entries_;
  blob.chunks = chunks_;
  if (!IsZstd(options_) || options_.annotations == ZstdAnnotations::kStargz) {
    blob.annotations[kUncompressedSize] = fmt::format("{}", blob.archive_bytes);
  }
  return blob;
}

//   data frames |skippable: TOC|skippable: tar-split|skippable: footer|
Result<void> SeekableWriter::FinishZstd(SeekableBlob& blob) {
  FLOE_ASSIGN_OR_RETURN(TarSplitWriter::Stream split, tar_split_->Finish());
  if (split.compressed.size() > kMaxSkippableBytes) {
    split = {};
  }
  const std::string toc = toc_.Finish(split.empty() ? Digest() : Digest::Of(split.compressed));
  FLOE_ASSIGN_OR_RETURN(const auto encoder, MakeEncoder(options_));
  std::string compressed;
  FLOE_RETURN_IF_ERROR(encoder->Encode(AsBytes(toc), compressed));
  const ZstdTocPosition position{.offset = writer_.offset() + kSkippableHeaderBytes,
                                 .compressed_bytes = compressed.size(),
                                 .raw_bytes = toc.size()};
  FLOE_RETURN_IF_ERROR(writer_.WriteRaw(SkippableFrame(compressed)));
  const uint64_t split_offset = writer_.offset() + kSkippableHeaderBytes;
  if (!split.empty()) {
    FLOE_RETURN_IF_ERROR(writer_.WriteRaw(SkippableFrame(split.compressed)));
  }
  FLOE_RETURN_IF_ERROR(writer_.WriteRaw(SkippableFrame(ZstdChunkedFooter(position))));

  const std::string checksum = Digest::Of(compressed).ToString();
  const std::string where =
      fmt::format("{}:{}:{}:1", position.offset, position.compressed_bytes, position.raw_bytes);
  if (options_.annotations == ZstdAnnotations::kStargz) {
    blob.annotations = {{kTocDigestAnnotation, Digest::Of(toc).ToString()},
                        {kStargzChecksum, checksum},
                        {kStargzPosition, where}};
    return Ok();
  }
  blob.annotations = {{kPodmanChecksum, checksum}, {kPodmanPosition, where}};
  if (!split.empty()) {
    blob.annotations[kPodmanTarSplit] =
        fmt::format("{}:{}:{}", split_offset, split.compressed.size(), split.raw_bytes);
  }
  return Ok();
}

Result<void> SeekableWriter::FinishEStargz(SeekableBlob& blob) {
  const std::string toc = toc_.Finish({});
  const uint64_t offset = writer_.offset();
  writer_.Append(AsBytes(LastTarFile(kTocEntryName, toc)));
  FLOE_RETURN_IF_ERROR(writer_.Flush());
  blob.annotations[kTocDigestAnnotation] = Digest::Of(toc).ToString();
  return writer_.WriteRaw(EStargzFooter(offset));
}

Result<void> SeekableWriter::FinishExternal(SeekableBlob& blob) {
  const std::string toc = toc_.Finish({});
  FLOE_ASSIGN_OR_RETURN(const auto encoder, MakeEncoder(options_));
  FLOE_RETURN_IF_ERROR(encoder->Encode(AsBytes(LastTarFile(kTocEntryName, toc)), blob.toc_blob));
  blob.annotations[kTocDigestAnnotation] = Digest::Of(toc).ToString();
  return writer_.WriteRaw(ExternalTocFooter());
}

bool IsSeekableAnnotation(std::string_view name) {
  constexpr std::string_view kPrefixes[] = {"containerd.io/snapshot/stargz/",
                                            "io.containers.zstd-chunked.",
                                            "io.github.containers.zstd-chunked."};
  return name == kUncompressedSize ||
         std::any_of(std::begin(kPrefixes), std::end(kPrefixes),
                     [name](std::string_view prefix) { return name.starts_with(prefix); });
}

}  // namespace floe::image
