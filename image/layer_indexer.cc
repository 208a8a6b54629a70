#include "image/layer_indexer.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "image/gzip_scanner.h"
#include "image/layer_builder.h"
#include "image/layer_scanner.h"
#include "image/plain_scanner.h"
#include "image/scan_pipeline.h"
#include "image/tar_reader.h"
#include "image/unit_windows.h"
#include "image/zstd_scanner.h"

namespace floe::image {
namespace {

/// Groups are not larger than this, so that a large zstd frame becomes visible bit by bit.
constexpr uint64_t kMaxGroupBytes = 1U << 20U;
/// Below this no ratio of decoded to compressed bytes is suspicious.
constexpr uint64_t kRatioFreeBytes = 1ULL << 30U;

enum class Compression { kNone, kGzip, kZstd };

constexpr size_t kMagicBytes = 4;
constexpr std::array<uint8_t, 3> kGzipMagic = {0x1F, 0x8B, 0x08};
constexpr std::array<uint8_t, 4> kZstdMagic = {0x28, 0xB5, 0x2F, 0xFD};

bool StartsWith(std::span<const std::byte> bytes, std::span<const uint8_t> magic) {
  return bytes.size() >= magic.size() &&
         std::equal(magic.begin(), magic.end(), bytes.begin(),
                    [](uint8_t a, std::byte b) { return std::byte{a} == b; });
}

/// A zstd skippable frame: 0x184D2A50 to 0x184D2A5F, little-endian.
bool IsSkippableFrame(std::span<const std::byte> bytes) {
  constexpr std::array<uint8_t, 3> kTail = {0x2A, 0x4D, 0x18};
  return bytes.size() >= kMagicBytes && (bytes[0] & std::byte{0xF0}) == std::byte{0x50} &&
         StartsWith(bytes.subspan(1), kTail);
}

Compression Detect(std::span<const std::byte> bytes) {
  if (StartsWith(bytes, kGzipMagic)) {
    return Compression::kGzip;
  }
  return StartsWith(bytes, kZstdMagic) || IsSkippableFrame(bytes) ? Compression::kZstd
                                                                  : Compression::kNone;
}

std::string_view Suffix(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return "";
    case Compression::kGzip:
      return "+gzip";
    case Compression::kZstd:
      return "+zstd";
  }
  return "";
}

/// Applies entries to the tree and passes on what they hold.
class EntrySink final : public TarEntrySink {
 public:
  explicit EntrySink(ContentSink* contents) : contents_(contents) {}

  Result<void> OnEntry(const TarEntry& entry) override {
    FLOE_RETURN_IF_ERROR(builder_.OnEntry(entry));
    wants_content_ = contents_ != nullptr && entry.type == '0' && !entry.data.empty();
    return wants_content_ ? contents_->OnFile(entry.data, entry.size_bytes) : Ok();
  }
  Result<void> OnContent(uint64_t archive_offset, std::span<const std::byte> bytes) override {
    return wants_content_ ? contents_->OnContent(archive_offset, bytes) : Ok();
  }

  [[nodiscard]] const LayerBuilder& builder() const { return builder_; }

 private:
  ContentSink* const contents_;
  LayerBuilder builder_;
  bool wants_content_ = false;
};

//  bytes -> sha256 -> scanner -> sha256 of all, sha256 of each group -> TarReader -> EntrySink
//                           ^ IndexerOptions::pipelined: a ScanPipeline lies here
class TarLayerIndexer final : public LayerIndexer, public ScanSink {
 public:
  TarLayerIndexer(LayerSource source, IndexerOptions options)
      : source_(std::move(source)),
        options_(options),
        entries_(options.contents),
        reader_(entries_) {}

  Result<void> Feed(std::span<const std::byte> bytes) override {
    return Remember(failure_.has_value() ? Result<void>(*failure_) : TakeBytes(bytes));
  }

  Result<IndexedLayer> Finish() override {
    Result<IndexedLayer> result =
        failure_.has_value() ? Result<IndexedLayer>(*failure_) : CheckAndBuild();
    if (!result.has_value() && !failure_.has_value()) {
      return InLayer(std::move(result).error());
    }
    return result;
  }

 private:
  Result<void> TakeBytes(std::span<const std::byte> bytes);
  Result<void> StartScanner();
  /// The windows part, when all that was decoded has been seen.
  Result<std::string> FinishScanner();
  Result<IndexedLayer> CheckAndBuild();
  Result<void> CheckBlob();
  Result<void> CheckDiffId();

  Result<void> OnDecoded(std::span<const std::byte> bytes) override;
  Result<void> OnUnit(const ScannedUnit& unit) override;
  Result<void> CheckLimits() const;
  void EndGroup();

  [[nodiscard]] Error InLayer(Error error) const {
    return WithContext(std::move(error), "layer " + source_.digest.ToString());
  }
  Result<void> Remember(Result<void> result) {
    if (!result.has_value() && !failure_.has_value()) {
      failure_ = InLayer(std::move(result).error());
      return *failure_;
    }
    return result;
  }

  const LayerSource source_;
  const IndexerOptions options_;
  std::optional<Error> failure_;  ///< The first one; every later call gives it again.

  std::vector<std::byte> magic_;  ///< The blob's first bytes, until there is a scanner.
  Compression compression_ = Compression::kNone;
  std::unique_ptr<LayerScanner> scanner_;
  Sha256Hasher blob_hasher_;
  uint64_t blob_bytes_ = 0;

  Sha256Hasher archive_hasher_;
  Digest archive_digest_;
  uint64_t archive_bytes_ = 0;
  Sha256Hasher group_hasher_;
  ByteRange group_;  ///< Of the current unit's output: the group that is being hashed.
  std::vector<Unit> units_;
  std::vector<Group> groups_;

  EntrySink entries_;
  TarReader reader_;
  std::optional<ScanPipeline> pipeline_;  ///< Last: its thread uses what stands above.
};

Result<void> TarLayerIndexer::TakeBytes(std::span<const std::byte> bytes) {
  blob_bytes_ += bytes.size();
  if (blob_bytes_ > source_.size_bytes) {
    return DataLoss("more than the {} bytes that the manifest says", source_.size_bytes);
  }
  blob_hasher_.Update(bytes);
  if (scanner_ != nullptr) {
    return scanner_->Feed(bytes);
  }
  magic_.insert(magic_.end(), bytes.begin(), bytes.end());
  return magic_.size() < kMagicBytes ? Ok() : StartScanner();
}

Result<void> TarLayerIndexer::StartScanner() {
  compression_ = Detect(magic_);
  if (options_.pipelined) {
    pipeline_.emplace(*this);
  }
  ScanSink& sink = pipeline_.has_value() ? static_cast<ScanSink&>(*pipeline_) : *this;
  switch (compression_) {
    case Compression::kNone:
      scanner_ = std::make_unique<PlainScanner>(options_.span_bytes, sink);
      break;
    case Compression::kGzip: {
      FLOE_ASSIGN_OR_RETURN(scanner_,
                            GzipScanner::Create({.span_bytes = options_.span_bytes}, sink));
      break;
    }
    case Compression::kZstd: {
      FLOE_ASSIGN_OR_RETURN(scanner_,
                            ZstdScanner::Create({.span_bytes = options_.span_bytes}, sink));
      break;
    }
  }
  return scanner_->Feed(std::exchange(magic_, {}));
}

Result<std::string> TarLayerIndexer::FinishScanner() {
  if (scanner_ == nullptr) {
    FLOE_RETURN_IF_ERROR(StartScanner());  // A blob of fewer bytes than any magic number.
  }
  FLOE_ASSIGN_OR_RETURN(std::string windows, scanner_->Finish());
  if (pipeline_.has_value()) {
    FLOE_RETURN_IF_ERROR(pipeline_->Finish());
  }
  return windows;
}

Result<void> TarLayerIndexer::OnDecoded(std::span<const std::byte> bytes) {
  archive_bytes_ += bytes.size();
  FLOE_RETURN_IF_ERROR(CheckLimits());
  if (compression_ != Compression::kNone) {
    archive_hasher_.Update(bytes);  // Else it is the blob's digest.
  }
  FLOE_RETURN_IF_ERROR(reader_.Feed(bytes));
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min<uint64_t>(bytes.size(), kMaxGroupBytes - group_.length));
    group_hasher_.Update(part);
    group_.length += part.size();
    bytes = bytes.subspan(part.size());
    if (group_.length == kMaxGroupBytes) {
      EndGroup();
    }
  }
  return Ok();
}

Result<void> TarLayerIndexer::CheckLimits() const {
  if (archive_bytes_ > options_.max_decoded_bytes) {
    return InvalidArgument("decodes to more than {} bytes", options_.max_decoded_bytes);
  }
  if (archive_bytes_ > kRatioFreeBytes &&
      archive_bytes_ / options_.max_ratio > source_.size_bytes) {
    return InvalidArgument("decodes to more than {} times its size", options_.max_ratio);
  }
  return Ok();
}

void TarLayerIndexer::EndGroup() {
  if (!group_.empty()) {
    groups_.push_back({.unit = static_cast<uint32_t>(units_.size()),
                       .in_unit = group_,
                       .digest = group_hasher_.Finish().bytes()});
    group_ = {.offset = group_.end(), .length = 0};
  }
}

Result<void> TarLayerIndexer::OnUnit(const ScannedUnit& unit) {
  EndGroup();
  group_ = {};
  units_.push_back({.blob = 0,
                    .range = unit.range,
                    .decoded_length = unit.decoded_length,
                    .codec = unit.codec,
                    .bits = unit.bits,
                    .window = unit.window});
  return Ok();
}

Result<void> TarLayerIndexer::CheckBlob() {
  if (blob_bytes_ != source_.size_bytes) {
    return DataLoss("it has {} bytes, the manifest says {}", blob_bytes_, source_.size_bytes);
  }
  const Digest digest = blob_hasher_.Finish();
  if (digest != source_.digest) {
    return DataLoss("its bytes have the digest {}", digest.ToString());
  }
  return Ok();
}

Result<void> TarLayerIndexer::CheckDiffId() {
  archive_digest_ = compression_ == Compression::kNone ? source_.digest : archive_hasher_.Finish();
  if (!source_.diff_id.IsZero() && archive_digest_ != source_.diff_id) {
    return DataLoss("its archive has the digest {}, the image's configuration says {}",
                    archive_digest_.ToString(), source_.diff_id.ToString());
  }
  return Ok();
}

Result<IndexedLayer> TarLayerIndexer::CheckAndBuild() {
  FLOE_RETURN_IF_ERROR(CheckBlob());
  FLOE_ASSIGN_OR_RETURN(const std::string windows, FinishScanner());
  FLOE_RETURN_IF_ERROR(reader_.Finish());
  FLOE_RETURN_IF_ERROR(CheckDiffId());

  SourceBlob blob;
  blob.digest = source_.digest;
  blob.size_bytes = source_.size_bytes;
  blob.media_type = source_.media_type;
  std::vector<Placement> placements;
  FLOE_ASSIGN_OR_RETURN(
      LayerIndexData data,
      entries_.builder().Finish(std::move(blob), {.units = units_, .groups = groups_},
                                options_.contents != nullptr ? &placements : nullptr));
  std::string kept_windows = KeepWindows(windows, data);
  data.diff_id = archive_digest_;
  data.producer = fmt::format("floe {} tar{}", FLOE_VERSION, Suffix(compression_));
  FLOE_ASSIGN_OR_RETURN(LayerIndex index, LayerIndex::Create(std::move(data)));
  return IndexedLayer{.index = std::move(index),
                      .windows = std::move(kept_windows),
                      .placements = std::move(placements)};
}

}  // namespace

Result<std::unique_ptr<LayerIndexer>> LayerIndexer::Create(LayerSource source,
                                                           IndexerOptions options) {
  if (source.digest.IsZero()) {
    return InvalidArgument("a layer without a digest cannot be indexed");
  }
  if (options.span_bytes == 0 || options.span_bytes > kMaxUnitBytes || options.max_ratio == 0) {
    return InvalidArgument("indexer options out of range");
  }
  return std::make_unique<TarLayerIndexer>(std::move(source), options);
}

}  // namespace floe::image
