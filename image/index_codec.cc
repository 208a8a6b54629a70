#include "image/index_codec.h"

#include <zstd.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "floe/index/v1/index.pb.h"
#include "image/index_proto.h"

namespace floe::image {
namespace {

constexpr int kTreeLevel = 19;
// Larger trees are compressed faster and a little less.
constexpr size_t kLargeTreeBytes = 16U << 20U;
constexpr int kLargeTreeLevel = 9;

// Parsed columns take several times the memory of their bytes: a few bytes of an index must not
// cost gigabytes of memory. Trees compress 5 to 50 times.
constexpr uint64_t kMaxRatio = 256;
constexpr uint64_t kAnyRatioBytes = 64U << 20U;

bool IsBomb(uint64_t decoded_bytes, uint64_t frame_bytes) {
  return decoded_bytes > kMaxEncodedIndexBytes ||
         (decoded_bytes > kAnyRatioBytes && decoded_bytes / kMaxRatio > frame_bytes);
}

Result<std::string> Compress(const std::string& bytes) {
  std::string frame(ZSTD_compressBound(bytes.size()), '\0');
  const size_t size = ZSTD_compress(frame.data(), frame.size(), bytes.data(), bytes.size(),
                                    bytes.size() > kLargeTreeBytes ? kLargeTreeLevel : kTreeLevel);
  if (ZSTD_isError(size) != 0) {
    return ResourceExhausted("index: cannot compress: {}", ZSTD_getErrorName(size));
  }
  frame.resize(size);
  return frame;
}

// What the only frame of `bytes` says that it decodes to.
Result<uint64_t> FrameSize(std::string_view bytes) {
  const unsigned long long size = ZSTD_getFrameContentSize(bytes.data(), bytes.size());
  if (size == ZSTD_CONTENTSIZE_ERROR) {
    return InvalidArgument("index: not a zstd frame");
  }
  if (size == ZSTD_CONTENTSIZE_UNKNOWN || IsBomb(size, bytes.size())) {
    return DataLoss("index: {} bytes decode to too many or say not to how many", bytes.size());
  }
  const size_t frame_bytes = ZSTD_findFrameCompressedSize(bytes.data(), bytes.size());
  if (ZSTD_isError(frame_bytes) != 0 || frame_bytes != bytes.size()) {
    return DataLoss("index: {} bytes are not one zstd frame", bytes.size());
  }
  return size;
}

// Grows with what really comes: a header that promises much costs nothing.
Result<std::string> Decompress(std::string_view bytes) {
  FLOE_ASSIGN_OR_RETURN(const uint64_t size, FrameSize(bytes));
  const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(),
                                                                   ZSTD_freeDCtx);
  if (context == nullptr) {
    return ResourceExhausted("index: no memory for a zstd context");
  }
  std::string decoded;
  ZSTD_inBuffer in{.src = bytes.data(), .size = bytes.size(), .pos = 0};
  size_t status = 1;
  while (status != 0) {
    const size_t at = decoded.size();
    decoded.resize(std::min<uint64_t>(size + 1, at + ZSTD_DStreamOutSize()));
    ZSTD_outBuffer out{.dst = decoded.data(), .size = decoded.size(), .pos = at};
    const size_t in_before = in.pos;
    status = ZSTD_decompressStream(context.get(), &out, &in);
    const bool stuck = out.pos == at && in.pos == in_before;
    decoded.resize(out.pos);
    if (ZSTD_isError(status) != 0 || decoded.size() > size || (stuck && status != 0)) {
      return DataLoss("index: corrupt zstd frame");
    }
  }
  if (decoded.size() != size) {
    return DataLoss("index: a frame of {} bytes says {}", decoded.size(), size);
  }
  return decoded;
}

}  // namespace

Result<std::string> EncodeLayerIndex(const LayerIndex& index) {
  floe::index::v1::LayerIndex message;
  FLOE_RETURN_IF_ERROR(IndexToProto(index, message));
  const size_t bytes = message.ByteSizeLong();
  if (bytes > kMaxEncodedIndexBytes) {
    return ResourceExhausted("index: {} bytes, at most {}", bytes, kMaxEncodedIndexBytes);
  }
  FLOE_ASSIGN_OR_RETURN(std::string frame, Compress(message.SerializeAsString()));
  if (IsBomb(bytes, frame.size())) {
    return ResourceExhausted("index: {} bytes in {}, no reader would take that", bytes,
                             frame.size());
  }
  return frame;
}

Result<LayerIndex> DecodeLayerIndex(std::string_view bytes) {
  LayerIndexData data;
  {
    floe::index::v1::LayerIndex message;
    {
      FLOE_ASSIGN_OR_RETURN(const std::string decoded, Decompress(bytes));
      if (!message.ParseFromString(decoded)) {
        return InvalidArgument("index: not a Floe index");
      }
    }
    FLOE_ASSIGN_OR_RETURN(data, IndexFromProto(message));
  }
  return LayerIndex::Create(std::move(data));
}

}  // namespace floe::image
