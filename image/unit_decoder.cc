#include "image/unit_decoder.h"

#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>

#include "image/inflate_stream.h"

namespace floe::image {
namespace {

constexpr size_t kGzipTrailerBytes = 8;  // CRC-32 and length (RFC 1952).

struct Job {
  const UnitView& unit;
  std::span<const std::byte> compressed;
  std::span<const std::byte> window;
  std::span<std::byte> out;
};

Result<void> CheckSizes(const Job& job) {
  constexpr uint64_t kLimit = std::numeric_limits<uInt>::max();
  if (job.out.size() != job.unit.decoded_length || job.out.size() > kLimit) {
    return Internal("unit of {} bytes decoded into {}", job.unit.decoded_length, job.out.size());
  }
  if (job.compressed.size() != job.unit.range.length || job.compressed.size() > kLimit) {
    return DataLoss("unit at byte {}: {} bytes of {}", job.unit.range.offset, job.compressed.size(),
                    job.unit.range.length);
  }
  if (job.window.size() != job.unit.window.length) {
    return DataLoss("unit at byte {}: window has {} bytes of {}", job.unit.range.offset,
                    job.window.size(), job.unit.window.length);
  }
  return Ok();
}

Result<void> CopyPlain(const Job& job) {
  if (job.compressed.size() != job.out.size()) {
    return DataLoss("plain unit at byte {}: {} bytes become {}", job.unit.range.offset,
                    job.compressed.size(), job.out.size());
  }
  std::copy(job.compressed.begin(), job.compressed.end(), job.out.begin());
  return Ok();
}

Result<void> DecodeLz4(const Job& job) {
  constexpr size_t kLimit = LZ4_MAX_INPUT_SIZE;
  if (job.compressed.size() > kLimit || job.out.size() > kLimit) {
    return DataLoss("lz4 unit at byte {}: {} bytes become {}", job.unit.range.offset,
                    job.compressed.size(), job.out.size());
  }
  const int size = LZ4_decompress_safe(
      reinterpret_cast<const char*>(job.compressed.data()), reinterpret_cast<char*>(job.out.data()),
      static_cast<int>(job.compressed.size()), static_cast<int>(job.out.size()));
  if (size < 0 || static_cast<size_t>(size) != job.out.size()) {
    return DataLoss("lz4 unit at byte {}: {} decoded bytes of {}", job.unit.range.offset, size,
                    job.out.size());
  }
  return Ok();
}

}  // namespace

struct UnitDecoder::State {
  InflateStream inflate_stream;
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> zstd{ZSTD_createDCtx(), ZSTD_freeDCtx};
  std::array<std::byte, kInflateWindowBytes> window;

  Result<void> DecodeZstd(const Job& job);
  Result<void> StartInflate(const Job& job);
  Result<void> DecodeInflate(const Job& job);
};

UnitDecoder::UnitDecoder() : state_(std::make_unique<State>()) {}
UnitDecoder::~UnitDecoder() = default;

Result<void> UnitDecoder::State::DecodeZstd(const Job& job) {
  if (zstd == nullptr) {
    return ResourceExhausted("no memory for a zstd context");
  }
  ZSTD_DCtx_reset(zstd.get(), ZSTD_reset_session_only);
  ZSTD_inBuffer in = {job.compressed.data(), job.compressed.size(), 0};
  ZSTD_outBuffer out = {job.out.data(), job.out.size(), 0};
  // What follows the output that is wanted (padding of the archive, in frames of its own) is left.
  while (out.pos < out.size) {
    const size_t before = out.pos + in.pos;
    const size_t status = ZSTD_decompressStream(zstd.get(), &out, &in);
    if (ZSTD_isError(status) != 0) {
      return DataLoss("zstd unit at byte {}: {}", job.unit.range.offset, ZSTD_getErrorName(status));
    }
    if (out.pos + in.pos == before) {
      return DataLoss("zstd unit at byte {}: {} decoded bytes of {}", job.unit.range.offset,
                      out.pos, out.size);
    }
  }
  return Ok();
}

// Leaves the stream in front of its first input byte.
Result<void> UnitDecoder::State::StartInflate(const Job& job) {
  if (job.unit.codec == Codec::kGzip) {
    FLOE_RETURN_IF_ERROR(inflate_stream.StartGzip());
    inflate_stream.SetInput(job.compressed);
    return Ok();
  }
  size_t window_bytes = 0;
  if (!job.window.empty()) {
    window_bytes = zstd == nullptr ? 0
                                   : ZSTD_decompressDCtx(zstd.get(), window.data(), window.size(),
                                                         job.window.data(), job.window.size());
    if (zstd == nullptr || ZSTD_isError(window_bytes) != 0) {
      return DataLoss("unit at byte {}: bad window", job.unit.range.offset);
    }
  }
  const size_t shared = job.unit.bits != 0 ? 1 : 0;
  if (job.unit.bits > 7 || job.compressed.size() < shared) {
    return DataLoss("unit at byte {}: bad checkpoint", job.unit.range.offset);
  }
  FLOE_RETURN_IF_ERROR(
      inflate_stream.StartDeflate(job.unit.bits, shared != 0 ? job.compressed.front() : std::byte{},
                                  std::span(window).first(window_bytes)));
  inflate_stream.SetInput(job.compressed.subspan(shared));
  return Ok();
}

Result<void> UnitDecoder::State::DecodeInflate(const Job& job) {
  FLOE_RETURN_IF_ERROR(StartInflate(job));
  inflate_stream.SetOutput(job.out);
  z_stream& z = inflate_stream.z();
  bool raw = job.unit.codec == Codec::kDeflate;
  while (z.avail_out > 0) {
    const int status = inflate(&z, Z_SYNC_FLUSH);
    if (z.avail_out == 0) {
      break;
    }
    // zlib reads the trailer of a member itself, but not the one of a raw stream.
    const size_t trailer = raw ? kGzipTrailerBytes : 0;
    if (status != Z_STREAM_END || z.avail_in <= trailer) {
      return DataLoss("unit at byte {}: {} decoded bytes are missing: {}", job.unit.range.offset,
                      z.avail_out,
                      status == Z_DATA_ERROR ? inflate_stream.message() : "input ends early");
    }
    const std::span<const std::byte> rest = job.compressed.last(z.avail_in - trailer);
    const uInt space = z.avail_out;
    FLOE_RETURN_IF_ERROR(inflate_stream.StartGzip());
    inflate_stream.SetInput(rest);
    inflate_stream.SetOutput(job.out.last(space));
    raw = false;
  }
  return Ok();
}

Result<void> UnitDecoder::Decode(const UnitView& unit, std::span<const std::byte> compressed,
                                 std::span<const std::byte> window, std::span<std::byte> out) {
  const Job job{.unit = unit, .compressed = compressed, .window = window, .out = out};
  FLOE_RETURN_IF_ERROR(CheckSizes(job));
  switch (unit.codec) {
    case Codec::kPlain:
      return CopyPlain(job);
    case Codec::kZstd:
      return state_->DecodeZstd(job);
    case Codec::kLz4Block:
      return DecodeLz4(job);
    case Codec::kGzip:
    case Codec::kDeflate:
      return state_->DecodeInflate(job);
  }
  return DataLoss("unit at byte {}: unknown codec", unit.range.offset);
}

}  // namespace floe::image
