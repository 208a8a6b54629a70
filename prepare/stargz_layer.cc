#include "prepare/stargz_layer.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/quote.h"
#include "image/stargz/annotations.h"
#include "image/stargz/footer.h"
#include "image/stargz/toc_container.h"
#include "image/stargz/toc_layer.h"

namespace floe::prepare {
namespace {

// Brings the footer, and in most layers all of the table of contents.
constexpr uint64_t kTailBytes = 64U << 10U;
constexpr const char* kTocImageSuffix = "-esgztoc";
constexpr const char* kTocLayerAnnotation = "containerd.io/snapshot/stargz/layer.digest";

std::span<const std::byte> BytesOf(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Result<image::Codec> CodecOf(const std::string& media_type) {
  if (media_type.ends_with("+gzip") || media_type.ends_with(".gzip")) {
    return image::Codec::kGzip;
  }
  if (media_type.ends_with("+zstd") || media_type.ends_with(".zstd")) {
    return image::Codec::kZstd;
  }
  return FailedPrecondition("its media type {} is neither gzip nor zstd", Quote(media_type));
}

class StargzReader {
 public:
  StargzReader(const LayerContext& context, image::TocAnnotations annotations, image::Codec codec)
      : context_(context), annotations_(annotations), codec_(codec) {}

  Result<ReadLayer> Read();

 private:
  /// The JSON of a table that is verified, and where the data that it describes ends.
  struct Toc {
    std::string json;
    uint64_t payload_end = 0;
  };

  Result<Toc> AtPosition(const image::TocPosition& position);
  Result<Toc> ByFooter();
  Result<Toc> FromTocImage(uint64_t payload_end);
  Result<std::string> FetchTocBlob();
  Result<Digest> FindTocBlob(const std::string& tag);
  Result<std::string> Fetch(ByteRange range);
  [[nodiscard]] Result<std::string> Decode(std::string_view compressed,
                                           uint64_t decoded_length) const;

  const LayerContext& context_;
  const image::TocAnnotations annotations_;
  const image::Codec codec_;
  uint64_t read_bytes_ = 0;
};

Result<std::string> StargzReader::Fetch(ByteRange range) {
  FLOE_ASSIGN_OR_RETURN(std::string bytes, context_.client.FetchRangeSync(
                                               {.repository = context_.image.reference.repository,
                                                .digest = context_.layer().digest,
                                                .range = range,
                                                .blob_bytes = context_.layer().size_bytes,
                                                .deadline = context_.deadline}));
  read_bytes_ += bytes.size();
  return bytes;
}

Result<std::string> StargzReader::Decode(std::string_view compressed,
                                         uint64_t decoded_length) const {
  FLOE_RETURN_IF_ERROR(image::CheckCompressedToc(annotations_, BytesOf(compressed)));
  FLOE_ASSIGN_OR_RETURN(std::string json,
                        codec_ == image::Codec::kZstd
                            ? image::DecodeZstdToc(BytesOf(compressed), decoded_length)
                            : image::DecodeGzipToc(BytesOf(compressed)));
  FLOE_RETURN_IF_ERROR(image::CheckTocJson(annotations_, json));
  return json;
}

Result<StargzReader::Toc> StargzReader::AtPosition(const image::TocPosition& position) {
  if (codec_ != image::Codec::kZstd) {
    return DataLoss("it is annotated as zstd:chunked, but its media type is gzip");
  }
  FLOE_ASSIGN_OR_RETURN(const std::string compressed, Fetch(position.toc));
  FLOE_ASSIGN_OR_RETURN(std::string json, Decode(compressed, position.decoded_length));
  return Toc{.json = std::move(json),
             .payload_end = position.toc.offset - image::kSkippableHeaderBytes};
}

Result<StargzReader::Toc> StargzReader::ByFooter() {
  const uint64_t blob_bytes = context_.layer().size_bytes;
  const uint64_t tail_bytes = std::min(blob_bytes, kTailBytes);
  if (tail_bytes == 0) {
    return DataLoss("its blob is empty");
  }
  const uint64_t tail_offset = blob_bytes - tail_bytes;
  FLOE_ASSIGN_OR_RETURN(std::string tail, Fetch({tail_offset, tail_bytes}));
  FLOE_ASSIGN_OR_RETURN(const image::Footer footer, image::ParseFooter(BytesOf(tail), blob_bytes));
  const bool is_zstd = footer.kind == image::FooterKind::kZstdStargz ||
                       footer.kind == image::FooterKind::kZstdContainers;
  if (is_zstd != (codec_ == image::Codec::kZstd)) {
    return DataLoss("its footer is not one of its media type {}",
                    Quote(context_.layer().media_type));
  }
  if (footer.kind == image::FooterKind::kExternalToc) {
    return FromTocImage(footer.payload_end);
  }
  if (footer.toc.length > image::kMaxTocBytes) {
    return ResourceExhausted("its table of contents takes {} bytes, at most {}", footer.toc.length,
                             image::kMaxTocBytes);
  }
  if (footer.toc.offset < tail_offset) {
    FLOE_ASSIGN_OR_RETURN(const std::string head,
                          Fetch({footer.toc.offset, tail_offset - footer.toc.offset}));
    tail.insert(0, head);
  } else {
    tail.erase(0, footer.toc.offset - tail_offset);
  }
  tail.resize(footer.toc.length);
  FLOE_ASSIGN_OR_RETURN(std::string json, Decode(tail, footer.toc_decoded_length));
  return Toc{.json = std::move(json), .payload_end = footer.payload_end};
}

Result<StargzReader::Toc> StargzReader::FromTocImage(uint64_t payload_end) {
  FLOE_ASSIGN_OR_RETURN(const std::string compressed, FetchTocBlob());
  FLOE_ASSIGN_OR_RETURN(std::string json, Decode(compressed, 0));
  return Toc{.json = std::move(json), .payload_end = payload_end};
}

Result<std::string> StargzReader::FetchTocBlob() {
  const fetcher::Reference& reference = context_.image.reference;
  if (reference.tag.empty()) {
    return FailedPrecondition(
        "its table of contents is in an image of its own, which only a tag could name");
  }
  const std::string tag = reference.tag + kTocImageSuffix;
  Result<std::string> blob = [&]() -> Result<std::string> {
    FLOE_ASSIGN_OR_RETURN(const Digest digest, FindTocBlob(tag));
    return context_.client.GetBlob(reference.repository, digest, image::kMaxTocBytes,
                                   context_.deadline);
  }();
  if (!blob.has_value()) {
    const bool is_missing = blob.error().code == ErrorCode::kNotFound;
    Error error = WithContext(std::move(blob).error(), "its table of contents in image " + tag);
    // NotFound would mean that the layer is of another format.
    error.code = is_missing ? ErrorCode::kFailedPrecondition : error.code;
    return error;
  }
  read_bytes_ += blob->size();
  return blob;
}

Result<Digest> StargzReader::FindTocBlob(const std::string& tag) {
  FLOE_ASSIGN_OR_RETURN(
      const fetcher::Manifest bytes,
      context_.client.GetManifest(context_.image.reference.repository, tag, context_.deadline));
  read_bytes_ += bytes.bytes.size();
  FLOE_ASSIGN_OR_RETURN(const image::ImageManifest manifest,
                        image::ParseImageManifest(bytes.bytes));
  const std::string wanted = context_.layer().digest.ToString();
  for (const image::Descriptor& layer : manifest.layers) {
    const auto found = layer.annotations.find(kTocLayerAnnotation);
    if (found != layer.annotations.end() && found->second == wanted) {
      return layer.digest;
    }
  }
  return NotFound("none of its {} layers is for this one", manifest.layers.size());
}

Result<ReadLayer> StargzReader::Read() {
  // containers/storage neither writes nor reads toc.digest, and takes positions from annotations.
  const bool is_stargz = annotations_.toc_digest.has_value();
  if (!annotations_.position && !is_stargz) {
    return FailedPrecondition("the position of its table of contents is not annotated");
  }
  FLOE_ASSIGN_OR_RETURN(const Toc toc,
                        annotations_.position ? AtPosition(*annotations_.position) : ByFooter());
  const image::Descriptor& layer = context_.layer();
  FLOE_ASSIGN_OR_RETURN(
      image::LayerIndex index,
      image::IndexFromToc(toc.json, {.digest = layer.digest,
                                     .size_bytes = layer.size_bytes,
                                     .media_type = layer.media_type,
                                     .diff_id = context_.diff_id(),
                                     .payload_end = toc.payload_end,
                                     .codec = codec_,
                                     .dialect = is_stargz ? image::TocDialect::kStargz
                                                          : image::TocDialect::kContainers,
                                     .allow_unverified = context_.allow_unverified}));
  ReadLayer read;
  read.index = std::make_shared<const image::LayerIndex>(std::move(index));
  read.windows.resize(read.index->data().blobs.size());
  read.origin = image::IndexOrigin::kBound;
  read.read_bytes = read_bytes_;
  return read;
}

}  // namespace

bool IsStargzLayer(const image::Descriptor& layer) { return image::HasTocAnnotations(layer); }

Result<ReadLayer> ReadStargzLayer(const LayerContext& context) {
  const image::Descriptor& layer = context.layer();
  if (!IsStargzLayer(layer)) {
    return NotFound("nothing says that it is eStargz or zstd:chunked");
  }
  FLOE_ASSIGN_OR_RETURN(image::TocAnnotations annotations, image::ParseTocAnnotations(layer));
  if (!annotations.toc_digest && !annotations.compressed_digest) {
    return FailedPrecondition("its table of contents is not covered by the manifest");
  }
  FLOE_ASSIGN_OR_RETURN(const image::Codec codec, CodecOf(layer.media_type));
  return StargzReader(context, annotations, codec).Read();
}

}  // namespace floe::prepare
