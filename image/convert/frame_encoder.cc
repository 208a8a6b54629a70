#include "image/convert/frame_encoder.h"

#include <zlib.h>
#include <zstd.h>

#include <limits>

namespace floe::image {
namespace {

constexpr int kGzip = 15 + 16;
constexpr int kMemoryLevel = 8;  // zlib's default.

class ZstdEncoder final : public FrameEncoder {
 public:
  explicit ZstdEncoder(int level) {
    if (context_ != nullptr) {
      ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level);
    }
  }

  Result<void> Encode(std::span<const std::byte> bytes, std::string& out) override {
    if (context_ == nullptr) {
      return ResourceExhausted("no memory for a zstd context");
    }
    const size_t start = out.size();
    out.resize(start + ZSTD_compressBound(bytes.size()));
    const size_t size = ZSTD_compress2(context_.get(), out.data() + start, out.size() - start,
                                       bytes.data(), bytes.size());
    if (ZSTD_isError(size) != 0) {
      return ResourceExhausted("zstd: {}", ZSTD_getErrorName(size));
    }
    out.resize(start + size);
    return Ok();
  }

 private:
  std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context_{ZSTD_createCCtx(), ZSTD_freeCCtx};
};

class GzipEncoder final : public FrameEncoder {
 public:
  explicit GzipEncoder(int level) : level_(level) {}
  ~GzipEncoder() override {
    if (initialised_) {
      deflateEnd(&z_);
    }
  }
  GzipEncoder(const GzipEncoder&) = delete;
  GzipEncoder& operator=(const GzipEncoder&) = delete;

  Result<void> Encode(std::span<const std::byte> bytes, std::string& out) override {
    if (bytes.size() > std::numeric_limits<uInt>::max() / 2) {
      return Unimplemented("gzip: a member of {} bytes", bytes.size());
    }
    FLOE_RETURN_IF_ERROR(Start());
    const size_t start = out.size();
    out.resize(start + deflateBound(&z_, bytes.size()));
    // zlib does not write through next_in; it is const only when compiled with ZLIB_CONST.
    z_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
    z_.avail_in = static_cast<uInt>(bytes.size());
    z_.next_out = reinterpret_cast<Bytef*>(out.data() + start);
    z_.avail_out = static_cast<uInt>(out.size() - start);
    if (deflate(&z_, Z_FINISH) != Z_STREAM_END) {
      return Internal("deflate did not end in the space that it asked for");
    }
    out.resize(out.size() - z_.avail_out);
    return Ok();
  }

 private:
  Result<void> Start() {
    const int status = initialised_ ? deflateReset(&z_)
                                    : deflateInit2(&z_, level_, Z_DEFLATED, kGzip, kMemoryLevel,
                                                   Z_DEFAULT_STRATEGY);
    if (status != Z_OK) {
      return ResourceExhausted("no memory for a deflate state");
    }
    initialised_ = true;
    return Ok();
  }

  const int level_;
  z_stream z_ = {};
  bool initialised_ = false;
};

Result<void> CheckLevel(int level, int highest) {
  return level < 1 || level > highest
             ? InvalidArgument("compression level {}: 1 to {} are possible", level, highest)
             : Ok();
}

}  // namespace

Result<std::unique_ptr<FrameEncoder>> MakeZstdEncoder(int level) {
  constexpr int kHighest = 19;  // Those above want decoders with much memory.
  FLOE_RETURN_IF_ERROR(CheckLevel(level, kHighest));
  return std::make_unique<ZstdEncoder>(level);
}

Result<std::unique_ptr<FrameEncoder>> MakeGzipEncoder(int level) {
  FLOE_RETURN_IF_ERROR(CheckLevel(level, Z_BEST_COMPRESSION));
  return std::make_unique<GzipEncoder>(level);
}

}  // namespace floe::image
