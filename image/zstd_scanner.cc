#include "image/zstd_scanner.h"

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace floe::image {
namespace {

// RFC 8878, sections 3.1.1 and 3.1.2.
constexpr uint32_t kFrameMagic = 0xFD2FB528U;
constexpr uint32_t kSkippableMagic = 0x184D2A50U;
constexpr uint32_t kSkippableMask = 0xFFFFFFF0U;
constexpr size_t kMagicBytes = 4;
constexpr size_t kMaxHeaderBytes = 18;

constexpr size_t kOutputBytes = 128U << 10U;

constexpr uint64_t kNoBlock = UINT64_MAX;

// Bytes of the header of a frame that is not skippable (RFC 8878, section 3.1.1.1).
uint64_t FrameHeaderBytes(std::byte descriptor) {
  constexpr std::array<uint64_t, 4> kDictionaryBytes = {0, 1, 2, 4};
  constexpr std::array<uint64_t, 4> kContentSizeBytes = {0, 2, 4, 8};
  const auto bits = std::to_integer<unsigned>(descriptor);
  const bool single_segment = ((bits >> 5U) & 1U) != 0;
  const unsigned content_size = bits >> 6U;
  // A single segment has no window descriptor, and always a content size.
  const uint64_t extra = single_segment && content_size != 0 ? 0 : 1;
  return kMagicBytes + 1 + extra + kDictionaryBytes[bits & 3U] + kContentSizeBytes[content_size];
}

// Follows the block headers of a frame (RFC 8878, section 3.1.1.2).
class BlockWalk {
 public:
  // `offset` within the frame, of the first block.
  void Start(uint64_t offset) { next_ = offset; }

  // `bytes` of the frame from `offset` on, in order. False for a compressed block without bytes:
  // libzstd passes over one when it decodes a stream and refuses it when it decodes a whole frame,
  // as the units are decoded later.
  bool Pass(uint64_t offset, std::span<const std::byte> bytes) {
    const uint64_t end = offset + bytes.size();
    while (next_ != kNoBlock && next_ + header_bytes_ < end) {
      header_ |= std::to_integer<uint32_t>(bytes[next_ + header_bytes_ - offset])
                 << (8 * header_bytes_);
      if (++header_bytes_ == kHeaderBytes && !EndHeader()) {
        return false;
      }
    }
    return true;
  }

 private:
  static constexpr unsigned kHeaderBytes = 3;
  static constexpr uint32_t kRunLength = 1;
  static constexpr uint32_t kCompressed = 2;

  bool EndHeader() {
    const bool last = (header_ & 1U) != 0;
    const uint32_t type = (header_ >> 1U) & 3U;
    const uint32_t size = header_ >> 3U;
    next_ = last ? kNoBlock : next_ + kHeaderBytes + (type == kRunLength ? 1 : size);
    header_ = 0;
    header_bytes_ = 0;
    return type != kCompressed || size != 0;
  }

  uint64_t next_ = kNoBlock;  // Offset of the next block header within the frame.
  uint32_t header_ = 0;
  unsigned header_bytes_ = 0;
};

// The frame that is being read.
struct Frame {
  uint64_t offset = 0;   // Compressed, of its first byte.
  uint64_t decoded = 0;  // Bytes so far.
  std::array<std::byte, kMaxHeaderBytes> header{};
  size_t header_bytes = 0;
  bool header_checked = false;
  BlockWalk blocks;

  [[nodiscard]] uint32_t magic() const {
    uint32_t value = 0;
    for (size_t i = kMagicBytes; i-- > 0;) {
      value = (value << 8U) | std::to_integer<uint32_t>(header[i]);
    }
    return value;
  }
  [[nodiscard]] bool skippable() const { return (magic() & kSkippableMask) == kSkippableMagic; }
};

}  // namespace

class ZstdScanner::Impl {
 public:
  Impl(ZstdScannerOptions options, ScanSink& sink)
      : span_bytes_(std::clamp<uint64_t>(options.span_bytes, 1, kMaxUnitBytes)),
        sink_(sink),
        output_(kOutputBytes) {}

  Result<void> Feed(std::span<const std::byte> bytes);
  Result<std::string> Finish();

 private:
  Result<void> PeekHeader(std::span<const std::byte> bytes);
  Result<void> CheckHeader();
  Result<void> Step(std::span<const std::byte>& bytes, bool& output_was_full);
  [[nodiscard]] Error DecodeError(size_t status) const;
  Result<void> TakeOutput(std::span<const std::byte> produced);
  Result<void> EndFrame();
  Result<void> Deliver(std::span<const std::byte> bytes);
  Result<void> EndUnit();

  const uint64_t span_bytes_;
  ScanSink& sink_;
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context_{ZSTD_createDCtx(), ZSTD_freeDCtx};
  std::vector<std::byte> output_;

  uint64_t compressed_offset_ = 0;
  uint64_t frames_ended_ = 0;
  Frame frame_;
  // The current unit: complete frames, and the current frame once it is known to belong to it.
  // Until then the frame's output waits in held_.
  ByteRange unit_;
  uint64_t unit_decoded_ = 0;
  std::vector<std::byte> held_;
};

Result<void> ZstdScanner::Impl::Feed(std::span<const std::byte> bytes) {
  if (context_ == nullptr) {
    return ResourceExhausted("no memory for a zstd context");
  }
  bool output_was_full = false;
  while (!bytes.empty() || output_was_full) {
    FLOE_RETURN_IF_ERROR(PeekHeader(bytes));
    FLOE_RETURN_IF_ERROR(Step(bytes, output_was_full));
  }
  return Ok();
}

// Keeps the frame's first bytes and refuses the frame as soon as they say that it cannot be taken.
// Past the end of a short frame they may be the next frame's: the header says where it ends.
Result<void> ZstdScanner::Impl::PeekHeader(std::span<const std::byte> bytes) {
  const uint64_t consumed = compressed_offset_ - frame_.offset;
  if (frame_.header_checked || consumed != frame_.header_bytes) {
    return Ok();
  }
  const size_t take = std::min(bytes.size(), kMaxHeaderBytes - frame_.header_bytes);
  std::copy_n(bytes.begin(), take, frame_.header.begin() + static_cast<int64_t>(consumed));
  frame_.header_bytes += take;
  return CheckHeader();
}

Result<void> ZstdScanner::Impl::CheckHeader() {
  if (frame_.header_bytes < kMagicBytes) {
    return Ok();
  }
  if (frame_.skippable()) {
    frame_.header_checked = true;
    return Ok();
  }
  if (frame_.magic() != kFrameMagic) {
    return InvalidArgument("zstd: no frame at byte {}", frame_.offset);
  }
  const unsigned long long size =
      ZSTD_getFrameContentSize(frame_.header.data(), frame_.header_bytes);
  if (size == ZSTD_CONTENTSIZE_ERROR) {
    return Ok();  // Incomplete; what is wrong with it the decoder says.
  }
  frame_.header_checked = true;
  frame_.blocks.Start(FrameHeaderBytes(frame_.header[kMagicBytes]));
  if (ZSTD_getDictID_fromFrame(frame_.header.data(), frame_.header_bytes) != 0) {
    return Unimplemented("zstd: the frame at byte {} needs a dictionary", frame_.offset);
  }
  if (size != ZSTD_CONTENTSIZE_UNKNOWN && size > kMaxDeviceBytes) {
    return Unimplemented("zstd: the frame at byte {} decodes to {} bytes, at most {} are taken",
                         frame_.offset, size, kMaxDeviceBytes);
  }
  return Ok();
}

Result<void> ZstdScanner::Impl::Step(std::span<const std::byte>& bytes, bool& output_was_full) {
  ZSTD_inBuffer in{.src = bytes.data(), .size = bytes.size(), .pos = 0};
  ZSTD_outBuffer out{.dst = output_.data(), .size = output_.size(), .pos = 0};
  const size_t status = ZSTD_decompressStream(context_.get(), &out, &in);
  const uint64_t offset_in_frame = compressed_offset_ - frame_.offset;
  const auto taken = bytes.first(in.pos);
  compressed_offset_ += in.pos;
  bytes = bytes.subspan(in.pos);
  output_was_full = out.pos == out.size;
  if (ZSTD_isError(status) != 0) {
    return DecodeError(status);
  }
  if (!frame_.blocks.Pass(offset_in_frame, taken)) {
    return DataLoss("zstd: an empty compressed block near byte {}, in the frame at byte {}",
                    compressed_offset_, frame_.offset);
  }
  if (out.pos > 0) {
    FLOE_RETURN_IF_ERROR(TakeOutput(std::span(output_).first(out.pos)));
  }
  if (status == 0 && compressed_offset_ > frame_.offset) {
    output_was_full = false;
    return EndFrame();
  }
  return Ok();
}

Error ZstdScanner::Impl::DecodeError(size_t status) const {
  if (ZSTD_getErrorCode(status) == ZSTD_error_prefix_unknown) {
    return InvalidArgument("zstd: no frame at byte {}", frame_.offset);
  }
  if (ZSTD_getErrorCode(status) == ZSTD_error_frameParameter_windowTooLarge) {
    return Unimplemented("zstd: the frame at byte {} needs too large a window", frame_.offset);
  }
  if (ZSTD_getErrorCode(status) == ZSTD_error_memory_allocation) {
    return ResourceExhausted("no memory for a zstd window");
  }
  return DataLoss("zstd: corrupt near byte {}, in the frame at byte {}: {}", compressed_offset_,
                  frame_.offset, ZSTD_getErrorName(status));
}

Result<void> ZstdScanner::Impl::TakeOutput(std::span<const std::byte> produced) {
  frame_.decoded += produced.size();
  if (frame_.decoded > kMaxDeviceBytes) {
    return Unimplemented("zstd: the frame at byte {} decodes to more than {} bytes", frame_.offset,
                         kMaxDeviceBytes);
  }
  if (unit_decoded_ > 0 && unit_decoded_ + frame_.decoded <= span_bytes_) {
    held_.insert(held_.end(), produced.begin(), produced.end());
    return Ok();
  }
  // Too much for the unit of the frames before, if there is one: the frame starts a unit.
  FLOE_RETURN_IF_ERROR(EndUnit());
  unit_.offset = frame_.offset;
  FLOE_RETURN_IF_ERROR(Deliver(std::exchange(held_, {})));
  return Deliver(produced);
}

Result<void> ZstdScanner::Impl::EndFrame() {
  ++frames_ended_;
  FLOE_RETURN_IF_ERROR(Deliver(std::exchange(held_, {})));
  unit_decoded_ += frame_.decoded;
  if (frame_.decoded > 0) {
    unit_.length = compressed_offset_ - unit_.offset;
  }
  if (frame_.skippable() || unit_decoded_ >= span_bytes_) {
    FLOE_RETURN_IF_ERROR(EndUnit());
  }
  frame_ = Frame();
  frame_.offset = compressed_offset_;
  if (unit_decoded_ == 0) {
    unit_ = {.offset = compressed_offset_, .length = 0};
  }
  return Ok();
}

Result<void> ZstdScanner::Impl::Deliver(std::span<const std::byte> bytes) {
  return bytes.empty() ? Ok() : sink_.OnDecoded(bytes);
}

Result<void> ZstdScanner::Impl::EndUnit() {
  if (unit_decoded_ == 0) {
    return Ok();
  }
  ScannedUnit unit;
  unit.range = unit_;
  unit.decoded_length = std::exchange(unit_decoded_, 0);
  unit.codec = Codec::kZstd;
  // Empty blocks can make any frame long.
  if (!IsStreamed(unit.codec, unit.decoded_length) && unit.range.length > kMaxUnitRangeBytes) {
    return Unimplemented("zstd: {} bytes from byte {} on decode to {} only", unit.range.length,
                         unit.range.offset, unit.decoded_length);
  }
  return sink_.OnUnit(unit);
}

Result<std::string> ZstdScanner::Impl::Finish() {
  if (compressed_offset_ != frame_.offset || frames_ended_ == 0) {
    return DataLoss("zstd: truncated at byte {}", compressed_offset_);
  }
  FLOE_RETURN_IF_ERROR(EndUnit());
  return std::string();
}

ZstdScanner::ZstdScanner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ZstdScanner::~ZstdScanner() = default;

Result<std::unique_ptr<ZstdScanner>> ZstdScanner::Create(ZstdScannerOptions options,
                                                         ScanSink& sink) {
  return std::unique_ptr<ZstdScanner>(new ZstdScanner(std::make_unique<Impl>(options, sink)));
}

Result<void> ZstdScanner::Feed(std::span<const std::byte> bytes) { return impl_->Feed(bytes); }
Result<std::string> ZstdScanner::Finish() { return impl_->Finish(); }

}  // namespace floe::image
