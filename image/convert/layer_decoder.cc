#include "image/convert/layer_decoder.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "image/inflate_stream.h"

namespace floe::image {
namespace {

constexpr size_t kMagicBytes = 4;
constexpr size_t kOutputBytes = 128U << 10U;
constexpr std::array<uint8_t, 3> kGzipMagic = {0x1F, 0x8B, 0x08};
constexpr std::array<uint8_t, 4> kZstdMagic = {0x28, 0xB5, 0x2F, 0xFD};

bool StartsWith(std::span<const std::byte> bytes, std::span<const uint8_t> magic) {
  return bytes.size() >= magic.size() &&
         std::equal(magic.begin(), magic.end(), bytes.begin(),
                    [](uint8_t a, std::byte b) { return std::byte{a} == b; });
}

// Magic numbers 0x184D2A50 to 0x184D2A5F, little-endian.
bool IsSkippableFrame(std::span<const std::byte> bytes) {
  constexpr std::array<uint8_t, 3> kTail = {0x2A, 0x4D, 0x18};
  return bytes.size() >= kMagicBytes && (bytes[0] & std::byte{0xF0}) == std::byte{0x50} &&
         StartsWith(bytes.subspan(1), kTail);
}

class PlainCodec final : public LayerDecoder::Codec {
 public:
  Result<void> Feed(std::span<const std::byte> bytes, const LayerDecoder::Sink& sink) override {
    return bytes.empty() ? Ok() : sink(bytes);
  }
  Result<void> Finish() override { return Ok(); }
};

class GzipCodec final : public LayerDecoder::Codec {
 public:
  Result<void> Feed(std::span<const std::byte> bytes, const LayerDecoder::Sink& sink) override {
    stream_.SetInput(bytes);
    bool output_was_full = false;
    while (stream_.z().avail_in > 0 || output_was_full) {
      FLOE_ASSIGN_OR_RETURN(output_was_full, Step(sink));
    }
    return Ok();
  }
  Result<void> Finish() override {
    return in_member_ || members_ == 0 ? DataLoss("gzip: cut off in member {}", members_) : Ok();
  }

 private:
  // True: there may be more output without more input.
  Result<bool> Step(const LayerDecoder::Sink& sink) {
    if (!in_member_) {
      FLOE_RETURN_IF_ERROR(stream_.StartGzip());  // Leaves the input alone.
      in_member_ = true;
      ++members_;
    }
    stream_.SetOutput(output_);
    const int status = inflate(&stream_.z(), Z_NO_FLUSH);
    const size_t produced = output_.size() - stream_.z().avail_out;
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) {
      return Failure(status);
    }
    if (produced > 0) {
      FLOE_RETURN_IF_ERROR(sink(std::span(output_).first(produced)));
    }
    in_member_ = status != Z_STREAM_END;
    return in_member_ && stream_.z().avail_out == 0;
  }

  Error Failure(int status) {
    if (status == Z_MEM_ERROR) {
      return ResourceExhausted("no memory for an inflate window");
    }
    const bool no_member = members_ > 1 && stream_.z().total_out == 0;
    return no_member ? InvalidArgument("gzip: what follows member {} is none: {}", members_ - 1,
                                       stream_.message())
                     : DataLoss("gzip: corrupt in member {}: {}", members_, stream_.message());
  }

  InflateStream stream_;
  std::vector<std::byte> output_ = std::vector<std::byte>(kOutputBytes);
  bool in_member_ = false;
  uint64_t members_ = 0;
};

class ZstdCodec final : public LayerDecoder::Codec {
 public:
  Result<void> Feed(std::span<const std::byte> bytes, const LayerDecoder::Sink& sink) override {
    if (context_ == nullptr) {
      return ResourceExhausted("no memory for a zstd context");
    }
    ZSTD_inBuffer in{.src = bytes.data(), .size = bytes.size(), .pos = 0};
    bool output_was_full = false;
    while (in.pos < in.size || output_was_full) {
      ZSTD_outBuffer out{.dst = output_.data(), .size = output_.size(), .pos = 0};
      const size_t status = ZSTD_decompressStream(context_.get(), &out, &in);
      if (ZSTD_isError(status) != 0) {
        return DataLoss("zstd: corrupt after {} frames: {}", frames_, ZSTD_getErrorName(status));
      }
      if (out.pos > 0) {
        FLOE_RETURN_IF_ERROR(sink(std::span(output_).first(out.pos)));
      }
      in_frame_ = status != 0;
      frames_ += in_frame_ ? 0 : 1;
      output_was_full = in_frame_ && out.pos == out.size;
    }
    return Ok();
  }
  Result<void> Finish() override {
    return in_frame_ || frames_ == 0 ? DataLoss("zstd: cut off after {} frames", frames_) : Ok();
  }

 private:
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context_{ZSTD_createDCtx(), ZSTD_freeDCtx};
  std::vector<std::byte> output_ = std::vector<std::byte>(kOutputBytes);
  bool in_frame_ = false;
  uint64_t frames_ = 0;
};

std::unique_ptr<LayerDecoder::Codec> MakeCodec(std::span<const std::byte> magic) {
  if (StartsWith(magic, kGzipMagic)) {
    return std::make_unique<GzipCodec>();
  }
  if (StartsWith(magic, kZstdMagic) || IsSkippableFrame(magic)) {
    return std::make_unique<ZstdCodec>();
  }
  return std::make_unique<PlainCodec>();
}

}  // namespace

Result<void> LayerDecoder::Feed(std::span<const std::byte> bytes) {
  if (codec_ != nullptr) {
    return codec_->Feed(bytes, sink_);
  }
  magic_.insert(magic_.end(), bytes.begin(), bytes.end());
  return magic_.size() < kMagicBytes ? Ok() : Start();
}

Result<void> LayerDecoder::Start() {
  codec_ = MakeCodec(magic_);
  return codec_->Feed(std::exchange(magic_, {}), sink_);
}

Result<void> LayerDecoder::Finish() {
  if (codec_ == nullptr) {
    FLOE_RETURN_IF_ERROR(Start());  // Fewer bytes than any magic number.
  }
  return codec_->Finish();
}

}  // namespace floe::image
