#include "prepare/erofs_layer.h"

#include <algorithm>
#include <list>
#include <string>
#include <unordered_map>
#include <utility>

#include "erofs/image_bytes.h"
#include "erofs/native_layer.h"
#include "image/layer_indexer.h"

namespace floe::prepare {
namespace {

constexpr uint64_t kCacheBlockBytes = 64U << 10U;
constexpr size_t kCacheBlocks = 1024;  // 64 MiB.
/// A reader goes through an image about once. Who makes it come back much more often wastes our
/// and the registry's time.
constexpr uint64_t kMaxTimesRead = 4;

/// A layer blob behind a cache of whole blocks, of which the least recently used one is dropped.
class RemoteImage final : public erofs::ImageBytes {
 public:
  explicit RemoteImage(const LayerContext& context) : context_(context) {}

  [[nodiscard]] uint64_t size_bytes() const override { return context_.layer().size_bytes; }
  [[nodiscard]] uint64_t read_bytes() const { return read_bytes_; }

  Result<std::string> Read(ByteRange range) override {
    std::string bytes;
    bytes.reserve(range.length);
    while (bytes.size() < range.length) {
      const uint64_t at = range.offset + bytes.size();
      FLOE_ASSIGN_OR_RETURN(const std::string* block, Block(at / kCacheBlockBytes));
      bytes.append(*block, at % kCacheBlockBytes, range.length - bytes.size());
    }
    return bytes;
  }

 private:
  struct CachedBlock {
    uint64_t number = 0;
    std::string bytes;
  };

  Result<const std::string*> Block(uint64_t number) {
    if (const auto found = by_number_.find(number); found != by_number_.end()) {
      blocks_.splice(blocks_.begin(), blocks_, found->second);
      return &blocks_.front().bytes;
    }
    const uint64_t offset = number * kCacheBlockBytes;
    const uint64_t length = std::min(kCacheBlockBytes, size_bytes() - offset);
    if (read_bytes_ / kMaxTimesRead > size_bytes()) {
      return ResourceExhausted("its metadata took {} bytes of reads, the layer has {}", read_bytes_,
                               size_bytes());
    }
    FLOE_ASSIGN_OR_RETURN(std::string bytes, Fetch({.offset = offset, .length = length}));
    read_bytes_ += bytes.size();
    if (blocks_.size() == kCacheBlocks) {
      by_number_.erase(blocks_.back().number);
      blocks_.pop_back();
    }
    blocks_.push_front({number, std::move(bytes)});
    by_number_.emplace(number, blocks_.begin());
    return &blocks_.front().bytes;
  }

  Result<std::string> Fetch(ByteRange range) {
    return context_.client.FetchRangeSync({.repository = context_.image.reference.repository,
                                           .digest = context_.layer().digest,
                                           .range = range,
                                           .blob_bytes = context_.layer().size_bytes,
                                           .deadline = context_.deadline});
  }

  const LayerContext& context_;
  std::list<CachedBlock> blocks_;  ///< Most recently used first.
  std::unordered_map<uint64_t, std::list<CachedBlock>::iterator> by_number_;
  uint64_t read_bytes_ = 0;
};

Result<void> CheckContext(const LayerContext& context) {
  const image::Descriptor& layer = context.layer();
  if (!IsErofsLayer(layer)) {
    return NotFound("media type {} is not of an EROFS layer", layer.media_type);
  }
  if (!context.allow_unverified) {
    return FailedPrecondition("nothing vouches for its blocks: it needs a Floe index");
  }
  if (layer.media_type.ends_with("+zstd")) {
    return Unimplemented("the image is wrapped in zstd and needs to be fetched whole");
  }
  if (layer.digest != context.diff_id()) {
    return DataLoss("its diff ID is {}, which is not the digest of the image that it is",
                    context.diff_id().ToString());
  }
  return Ok();
}

}  // namespace

bool IsErofsLayer(const image::Descriptor& layer) {
  return image::IsErofsLayerMediaType(layer.media_type);
}

Result<ReadLayer> ReadErofsLayerUnverified(const LayerContext& context) {
  FLOE_RETURN_IF_ERROR(CheckContext(context));
  RemoteImage remote(context);
  image::SourceBlob blob;
  blob.digest = context.layer().digest;
  blob.size_bytes = context.layer().size_bytes;
  blob.media_type = context.layer().media_type;
  FLOE_ASSIGN_OR_RETURN(
      image::LayerIndex index,
      erofs::MakeUnverifiedIndex(remote, std::move(blob), image::IndexerOptions().span_bytes));
  ReadLayer read;
  read.index = std::make_shared<const image::LayerIndex>(std::move(index));
  read.windows.resize(1);
  read.origin = image::IndexOrigin::kRepository;
  read.read_bytes = remote.read_bytes();
  return read;
}

}  // namespace floe::prepare
