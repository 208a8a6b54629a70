#include "image/stream_decoder.h"

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <utility>

namespace floe::image {

struct StreamDecoder::Context {
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> zstd{ZSTD_createDCtx(), ZSTD_freeDCtx};
};

StreamDecoder::StreamDecoder(const UnitView& unit, std::unique_ptr<Context> context)
    : unit_offset_(unit.range.offset),
      decoded_length_(unit.decoded_length),
      context_(std::move(context)) {}
StreamDecoder::~StreamDecoder() = default;

Result<std::unique_ptr<StreamDecoder>> StreamDecoder::Create(const UnitView& unit) {
  if (!IsStreamed(unit.codec, unit.decoded_length)) {
    return Internal("the unit at byte {} is not streamed", unit.range.offset);
  }
  auto context = std::make_unique<Context>();
  if (context->zstd == nullptr) {
    return ResourceExhausted("no memory for a zstd context");
  }
  return std::unique_ptr<StreamDecoder>(new StreamDecoder(unit, std::move(context)));
}

Result<size_t> StreamDecoder::Decode(std::span<const std::byte>& input, std::span<std::byte> out) {
  out = out.first(std::min<uint64_t>(out.size(), decoded_length_ - position_));
  ZSTD_inBuffer in = {input.data(), input.size(), 0};
  ZSTD_outBuffer written = {out.data(), out.size(), 0};
  while (written.pos < written.size) {
    const size_t before = written.pos + in.pos;
    const size_t status = ZSTD_decompressStream(context_->zstd.get(), &written, &in);
    if (ZSTD_getErrorCode(status) == ZSTD_error_memory_allocation) {
      return ResourceExhausted("no memory for a zstd window");
    }
    if (ZSTD_isError(status) != 0) {
      return DataLoss("zstd stream at byte {}, after {} decoded bytes: {}", unit_offset_,
                      position_ + written.pos, ZSTD_getErrorName(status));
    }
    if (written.pos + in.pos == before) {
      break;  // It wants more input.
    }
  }
  input = input.subspan(in.pos);
  position_ += written.pos;
  return written.pos;
}

}  // namespace floe::image
