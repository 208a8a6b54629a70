#include "image/convert/layer_converter.h"

#include <optional>
#include <utility>

#include "image/convert/estargz_editor.h"
#include "image/convert/layer_decoder.h"

namespace floe::image {
namespace {

/// Below this no ratio of decoded to compressed bytes is suspicious.
constexpr uint64_t kRatioFreeBytes = 1ULL << 30U;

//  bytes -> sha256 -> LayerDecoder -> sha256 -> ArchiveSplitter [-> EStargzEditor] ->
//  SeekableWriter
class StreamingConverter final : public LayerConverter {
 public:
  StreamingConverter(LayerSource source, const ConvertOptions& options,
                     std::unique_ptr<SeekableWriter> writer)
      : source_(std::move(source)),
        options_(options),
        writer_(std::move(writer)),
        editor_(*writer_),
        splitter_(options.seekable.format == SeekableFormat::kEStargz
                      ? static_cast<ArchiveSink&>(editor_)
                      : *writer_),
        decoder_([this](std::span<const std::byte> bytes) { return OnDecoded(bytes); }) {}

  Result<void> Feed(std::span<const std::byte> bytes) override {
    if (!failure_.has_value()) {
      if (auto fed = TakeBytes(bytes); !fed.has_value()) {
        failure_ = InLayer(std::move(fed).error());
      }
    }
    return failure_.has_value() ? Result<void>(*failure_) : Ok();
  }

  Result<ConvertedLayer> Finish() override {
    if (failure_.has_value()) {
      return *failure_;
    }
    auto result = CheckAndFinish();
    return result.has_value() ? std::move(result) : InLayer(std::move(result).error());
  }

 private:
  Result<void> TakeBytes(std::span<const std::byte> bytes) {
    blob_bytes_ += bytes.size();
    if (blob_bytes_ > source_.size_bytes) {
      return DataLoss("more than the {} bytes that the manifest says", source_.size_bytes);
    }
    blob_hasher_.Update(bytes);
    return decoder_.Feed(bytes);
  }

  Result<void> OnDecoded(std::span<const std::byte> bytes) {
    archive_bytes_ += bytes.size();
    FLOE_RETURN_IF_ERROR(CheckLimits());
    archive_hasher_.Update(bytes);
    return splitter_.Feed(bytes);
  }

  [[nodiscard]] Result<void> CheckLimits() const {
    if (archive_bytes_ > options_.max_decoded_bytes) {
      return InvalidArgument("decodes to more than {} bytes", options_.max_decoded_bytes);
    }
    if (archive_bytes_ > kRatioFreeBytes &&
        archive_bytes_ / options_.max_ratio > source_.size_bytes) {
      return InvalidArgument("decodes to more than {} times its size", options_.max_ratio);
    }
    return Ok();
  }

  Result<void> CheckBlob() {
    if (blob_bytes_ != source_.size_bytes) {
      return DataLoss("it has {} bytes, the manifest says {}", blob_bytes_, source_.size_bytes);
    }
    const Digest digest = blob_hasher_.Finish();
    return digest == source_.digest ? Ok()
                                    : DataLoss("its bytes have the digest {}", digest.ToString());
  }

  Result<void> CheckDiffId(const Digest& diff_id) const {
    if (!source_.diff_id.IsZero() && diff_id != source_.diff_id) {
      return DataLoss("its archive has the digest {}, the image's configuration says {}",
                      diff_id.ToString(), source_.diff_id.ToString());
    }
    return Ok();
  }

  Result<ConvertedLayer> CheckAndFinish() {
    FLOE_RETURN_IF_ERROR(CheckBlob());
    FLOE_RETURN_IF_ERROR(decoder_.Finish());
    FLOE_RETURN_IF_ERROR(splitter_.Finish());
    ConvertedLayer layer;
    layer.source_diff_id = archive_hasher_.Finish();
    FLOE_RETURN_IF_ERROR(CheckDiffId(layer.source_diff_id));
    if (options_.seekable.format == SeekableFormat::kEStargz) {
      FLOE_RETURN_IF_ERROR(editor_.Finish());
    }
    FLOE_ASSIGN_OR_RETURN(layer.blob, writer_->Finish());
    return layer;
  }

  [[nodiscard]] Error InLayer(Error error) const {
    return WithContext(std::move(error), "layer " + source_.digest.ToString());
  }

  const LayerSource source_;
  const ConvertOptions options_;
  std::optional<Error> failure_;  ///< The first one; every later call gives it again.
  std::unique_ptr<SeekableWriter> writer_;
  EStargzEditor editor_;
  ArchiveSplitter splitter_;
  LayerDecoder decoder_;
  Sha256Hasher blob_hasher_, archive_hasher_;
  uint64_t blob_bytes_ = 0, archive_bytes_ = 0;
};

}  // namespace

Result<std::unique_ptr<LayerConverter>> LayerConverter::Create(LayerSource source,
                                                               const ConvertOptions& options,
                                                               BlobSink sink) {
  if (source.digest.IsZero() || options.max_ratio == 0) {
    return InvalidArgument("a layer cannot be converted without its digest and a limit");
  }
  FLOE_ASSIGN_OR_RETURN(auto writer, SeekableWriter::Create(options.seekable, std::move(sink)));
  return std::make_unique<StreamingConverter>(std::move(source), options, std::move(writer));
}

}  // namespace floe::image
