#include "erofs/native_layer_indexer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/quote.h"
#include "erofs/image_bytes.h"
#include "erofs/native_layer.h"
#include "erofs/native_tree.h"
#include "image/layer_scanner.h"
#include "image/manifest.h"
#include "image/plain_scanner.h"
#include "image/zstd_scanner.h"

namespace floe::erofs {
namespace {

using image::LayerSource;

/// Groups are not larger than this, so that a large zstd frame becomes visible bit by bit.
constexpr uint64_t kMaxGroupBytes = 1U << 20U;
/// Below this no ratio of decoded to compressed bytes is suspicious.
constexpr uint64_t kRatioFreeBytes = 1ULL << 30U;

bool IsWrapped(std::string_view media_type) { return media_type.ends_with("+zstd"); }

//  bytes -> sha256 -> scanner -> sha256 of all, sha256 of each group -> spool -> ReadNativeTree
class Indexer final : public image::LayerIndexer, public image::ScanSink {
 public:
  Indexer(LayerSource source, image::IndexerOptions options, SpooledImage spool, int device_fd)
      : source_(std::move(source)),
        options_(options),
        wrapped_(IsWrapped(source_.media_type)),
        spool_(std::move(spool)),
        device_fd_(device_fd) {}

  Result<void> Start() {
    if (!wrapped_) {
      scanner_ = std::make_unique<image::PlainScanner>(options_.span_bytes, *this);
      return Ok();
    }
    FLOE_ASSIGN_OR_RETURN(scanner_,
                          image::ZstdScanner::Create({.span_bytes = options_.span_bytes}, *this));
    return Ok();
  }

  Result<void> Feed(std::span<const std::byte> bytes) override {
    if (!failure_.has_value()) {
      if (auto taken = TakeBytes(bytes); !taken) {
        failure_ = InLayer(std::move(taken).error());
      }
    }
    return failure_.has_value() ? Result<void>(*failure_) : Ok();
  }

  Result<image::IndexedLayer> Finish() override {
    if (failure_.has_value()) {
      return *failure_;
    }
    auto built = CheckAndBuild();
    if (!built) {
      return InLayer(std::move(built).error());
    }
    return built;
  }

 private:
  Result<void> TakeBytes(std::span<const std::byte> bytes);
  Result<image::IndexedLayer> CheckAndBuild();
  Result<void> WriteDevice(const std::vector<image::Placement>& placements, uint64_t device_bytes);
  Result<void> CheckBlob();
  Result<Digest> CheckDiffId(const Digest& blob_digest);

  Result<void> OnDecoded(std::span<const std::byte> bytes) override;
  Result<void> OnUnit(const image::ScannedUnit& unit) override;
  [[nodiscard]] Result<void> CheckLimits(uint64_t decoded) const;
  void EndGroup();

  [[nodiscard]] Error InLayer(Error error) const {
    return WithContext(std::move(error), "layer " + source_.digest.ToString());
  }

  const LayerSource source_;
  const image::IndexerOptions options_;
  const bool wrapped_;
  std::optional<Error> failure_;  ///< The first one; every later call gives it again.

  std::unique_ptr<image::LayerScanner> scanner_;
  Sha256Hasher blob_hasher_;
  uint64_t blob_bytes_ = 0;

  SpooledImage spool_;
  const int device_fd_;  ///< -1: none.
  Sha256Hasher image_hasher_;
  Sha256Hasher group_hasher_;
  ByteRange group_;  ///< Of the current unit's output: the group that is being hashed.
  std::vector<image::Unit> units_;
  std::vector<image::Group> groups_;
};

// A frame that no unit can hold: the reader's and the operator's word for it.
Error NeedsWhole(Error error) {
  const bool too_large = error.code == ErrorCode::kUnimplemented;
  return too_large ? WithContext(std::move(error), "the wrapped image needs to be fetched whole")
                   : error;
}

Result<void> Indexer::TakeBytes(std::span<const std::byte> bytes) {
  blob_bytes_ += bytes.size();
  if (blob_bytes_ > source_.size_bytes) {
    return DataLoss("more than the {} bytes that the manifest says", source_.size_bytes);
  }
  blob_hasher_.Update(bytes);
  auto scanned = scanner_->Feed(bytes);
  return scanned ? Ok() : Result<void>(NeedsWhole(std::move(scanned).error()));
}

Result<void> Indexer::OnDecoded(std::span<const std::byte> bytes) {
  FLOE_RETURN_IF_ERROR(CheckLimits(spool_.size_bytes() + bytes.size()));
  FLOE_RETURN_IF_ERROR(spool_.Append(bytes));
  if (wrapped_) {
    image_hasher_.Update(bytes);  // Else it is the blob's digest.
  }
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

Result<void> Indexer::CheckLimits(uint64_t decoded) const {
  if (decoded > options_.max_decoded_bytes) {
    return InvalidArgument("decodes to more than {} bytes", options_.max_decoded_bytes);
  }
  if (decoded > kRatioFreeBytes && decoded / options_.max_ratio > source_.size_bytes) {
    return InvalidArgument("decodes to more than {} times its size", options_.max_ratio);
  }
  return Ok();
}

void Indexer::EndGroup() {
  if (!group_.empty()) {
    groups_.push_back({.unit = static_cast<uint32_t>(units_.size()),
                       .in_unit = group_,
                       .digest = group_hasher_.Finish().bytes()});
    group_ = {.offset = group_.end(), .length = 0};
  }
}

Result<void> Indexer::OnUnit(const image::ScannedUnit& unit) {
  EndGroup();
  group_ = {};
  units_.push_back({.blob = 0,
                    .range = unit.range,
                    .decoded_length = unit.decoded_length,
                    .codec = unit.codec,
                    .window = {}});
  return Ok();
}

Result<void> Indexer::CheckBlob() {
  if (blob_bytes_ != source_.size_bytes) {
    return DataLoss("it has {} bytes, the manifest says {}", blob_bytes_, source_.size_bytes);
  }
  if (const Digest digest = blob_hasher_.Finish(); digest != source_.digest) {
    return DataLoss("its bytes have the digest {}", digest.ToString());
  }
  return Ok();
}

Result<Digest> Indexer::CheckDiffId(const Digest& blob_digest) {
  const Digest digest = wrapped_ ? image_hasher_.Finish() : blob_digest;
  if (!source_.diff_id.IsZero() && digest != source_.diff_id) {
    return DataLoss("its image has the digest {}, the image's configuration says {}",
                    digest.ToString(), source_.diff_id.ToString());
  }
  return digest;
}

// What no placement covers stays a hole: zeros.
Result<void> Indexer::WriteDevice(const std::vector<image::Placement>& placements,
                                  uint64_t device_bytes) {
  constexpr uint64_t kPieceBytes = 1U << 20U;
  if (::ftruncate(device_fd_, static_cast<off_t>(device_bytes)) != 0) {
    return ErrnoError(errno, "the layer's device");
  }
  for (const image::Placement& placement : placements) {
    for (uint64_t done = 0; done < placement.length; done += kPieceBytes) {
      FLOE_ASSIGN_OR_RETURN(
          const std::string bytes,
          spool_.Read({.offset = placement.archive_offset + done,
                       .length = std::min(kPieceBytes, placement.length - done)}));
      FLOE_RETURN_IF_ERROR(
          PwriteAll(device_fd_, std::as_bytes(std::span(bytes)), placement.device_offset + done));
    }
  }
  return Ok();
}

Result<image::IndexedLayer> Indexer::CheckAndBuild() {
  FLOE_RETURN_IF_ERROR(CheckBlob());
  auto finished = scanner_->Finish();
  if (!finished) {
    return NeedsWhole(std::move(finished).error());
  }
  FLOE_ASSIGN_OR_RETURN(const Digest diff_id, CheckDiffId(source_.digest));
  FLOE_ASSIGN_OR_RETURN(const NativeTree tree,
                        ReadNativeTree(spool_, {.max_file_bytes = options_.max_decoded_bytes,
                                                .max_ratio = options_.max_ratio}));
  image::SourceBlob blob;
  blob.digest = source_.digest;
  blob.size_bytes = source_.size_bytes;
  blob.media_type = source_.media_type;
  std::vector<image::Placement> placements;
  FLOE_ASSIGN_OR_RETURN(image::LayerIndex index,
                        MakeNativeIndex(tree, std::move(blob), {.units = units_, .groups = groups_},
                                        diff_id, wrapped_ ? "+zstd" : "", &placements));
  if (device_fd_ >= 0) {
    FLOE_RETURN_IF_ERROR(WriteDevice(placements, index.data().blobs.front().device_size_bytes));
  }
  return image::IndexedLayer{.index = std::move(index), .windows = {}};
}

}  // namespace

Result<std::unique_ptr<image::LayerIndexer>> NativeLayerIndexer::Create(
    LayerSource source, image::IndexerOptions options, const std::filesystem::path& spool_directory,
    int device_fd) {
  if (source.digest.IsZero()) {
    return InvalidArgument("a layer without a digest cannot be indexed");
  }
  if (!image::IsErofsLayerMediaType(source.media_type)) {
    return InvalidArgument("layer {} has media type {}, which is not of an EROFS image",
                           source.digest.ToString(), Quote(source.media_type));
  }
  if (options.span_bytes == 0 || options.span_bytes > image::kMaxUnitBytes ||
      options.max_ratio == 0) {
    return InvalidArgument("indexer options out of range");
  }
  FLOE_ASSIGN_OR_RETURN(SpooledImage spool, SpooledImage::Create(spool_directory));
  auto indexer = std::make_unique<Indexer>(std::move(source), options, std::move(spool), device_fd);
  FLOE_RETURN_IF_ERROR(indexer->Start());
  return indexer;
}

}  // namespace floe::erofs
