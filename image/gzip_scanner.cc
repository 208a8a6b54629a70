#include "image/gzip_scanner.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "image/inflate_stream.h"
#include "image/window_trimmer.h"

namespace floe::image {
namespace {

constexpr size_t kOutputBytes = 128U << 10U;
// Bounds what one inflate call consumes, and with it the head below.
constexpr size_t kInputStepBytes = 256U << 10U;
// Compressed bytes of a unit's head that are kept for the trimmer: 32 KiB of output need far fewer
// unless blocks are empty; then the window is kept whole.
constexpr size_t kMaxHeadBytes = 1U << 20U;

// z_stream.data_type after inflate with Z_BLOCK (zlib.h).
constexpr int kUnusedBitsMask = 7;
constexpr int kInLastBlock = 64;
constexpr int kAtBoundary = 128;

// The first output of a kDeflate unit and what it was decoded from, while that is collected.
struct Head {
  bool collecting = false;
  uint8_t bits = 0;
  std::vector<std::byte> window;
  std::vector<std::byte> compressed;
  std::vector<std::byte> decoded;
};

// Appends to `to` as long as it has fewer than `limit` bytes.
void Collect(std::vector<std::byte>& to, std::span<const std::byte> from, size_t limit) {
  from = from.first(std::min(from.size(), limit - to.size()));
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

class GzipScanner::Impl {
 public:
  Impl(GzipScannerOptions options, ScanSink& sink)
      : span_bytes_(std::clamp<uint64_t>(options.span_bytes, 1, kMaxUnitBytes)),
        sink_(sink),
        output_(kOutputBytes) {
    StartUnit(0, Codec::kGzip, 0);
  }

  Result<void> Feed(std::span<const std::byte> bytes);
  Result<std::string> Finish();

 private:
  // Between two members any byte must be the first of a header; in a header no output exists yet.
  enum class Place { kBetweenMembers, kInHeader, kInMember };

  Result<void> Step(std::span<const std::byte>& bytes);
  [[nodiscard]] Error DecodeError() const;
  Result<void> CheckLimits() const;
  void Account(std::span<const std::byte> consumed, std::span<const std::byte> produced);
  Result<void> EndMember();
  Result<void> CutAtBlock(int data_type);
  Result<void> Flush();
  Result<void> EndUnit(uint64_t compressed_end);
  void StartUnit(uint64_t compressed_offset, Codec codec, uint8_t bits);
  void StartHead(uint8_t bits);
  Result<void> EndHead();

  const uint64_t span_bytes_;
  ScanSink& sink_;
  InflateStream stream_;
  WindowTrimmer trimmer_;

  std::vector<std::byte> output_;  // Decoded bytes that the sink has not yet: output_used_ of them.
  size_t output_used_ = 0;

  Place place_ = Place::kBetweenMembers;
  uint64_t members_ended_ = 0;
  uint64_t compressed_offset_ = 0;  // Of the next input byte.
  std::byte last_byte_{};           // The one before it.
  uint64_t output_end_ = 0;         // End of the last member that had output.
  uint64_t member_decoded_ = 0;

  ScannedUnit unit_;  // The current one: range.length and window are set when it ends.
  Head head_;
  std::string windows_;
};

Result<void> GzipScanner::Impl::Feed(std::span<const std::byte> bytes) {
  bool output_was_full = false;
  while (!bytes.empty() || output_was_full) {
    FLOE_RETURN_IF_ERROR(Step(bytes));
    output_was_full = output_used_ == output_.size();
    if (output_was_full) {
      FLOE_RETURN_IF_ERROR(Flush());
    }
  }
  return Flush();
}

// One inflate call: up to the next block boundary, the end of the output buffer or of the input.
Result<void> GzipScanner::Impl::Step(std::span<const std::byte>& bytes) {
  if (place_ == Place::kBetweenMembers) {
    if (bytes.empty()) {
      return Ok();
    }
    FLOE_RETURN_IF_ERROR(stream_.StartGzip());
    place_ = Place::kInHeader;
    member_decoded_ = 0;
  }
  const auto input = bytes.first(std::min(bytes.size(), kInputStepBytes));
  const auto space = std::span(output_).subspan(output_used_);
  stream_.SetInput(input);
  stream_.SetOutput(space);
  const int status = inflate(&stream_.z(), Z_BLOCK);
  const size_t consumed = input.size() - stream_.z().avail_in;
  const size_t produced = space.size() - stream_.z().avail_out;
  Account(input.first(consumed), space.first(produced));
  bytes = bytes.subspan(consumed);
  if (status == Z_STREAM_END) {
    return EndMember();
  }
  if (status != Z_OK && status != Z_BUF_ERROR) {
    return DecodeError();
  }
  FLOE_RETURN_IF_ERROR(CheckLimits());
  if ((stream_.z().data_type & kAtBoundary) != 0) {
    place_ = Place::kInMember;
    if ((stream_.z().data_type & kInLastBlock) == 0 && unit_.decoded_length >= span_bytes_) {
      return CutAtBlock(stream_.z().data_type);
    }
  }
  return Ok();
}

Error GzipScanner::Impl::DecodeError() const {
  const uint64_t at = compressed_offset_;
  if (place_ == Place::kInHeader && members_ended_ > 0) {
    return InvalidArgument("gzip: what follows the last member, near byte {}, is not a member: {}",
                           at, stream_.message());
  }
  if (place_ == Place::kInHeader) {
    return InvalidArgument("gzip: bad header near byte {}: {}", at, stream_.message());
  }
  return DataLoss("gzip: corrupt near byte {}: {}", at, stream_.message());
}

Result<void> GzipScanner::Impl::CheckLimits() const {
  if (unit_.decoded_length > kMaxUnitBytes ||
      compressed_offset_ - unit_.range.offset > kMaxUnitRangeBytes) {
    return Unimplemented("gzip: no place for a checkpoint within {} decoded bytes from byte {} on",
                         unit_.decoded_length, unit_.range.offset);
  }
  return Ok();
}

void GzipScanner::Impl::Account(std::span<const std::byte> consumed,
                                std::span<const std::byte> produced) {
  compressed_offset_ += consumed.size();
  if (!consumed.empty()) {
    last_byte_ = consumed.back();
  }
  output_used_ += produced.size();
  unit_.decoded_length += produced.size();
  member_decoded_ += produced.size();
  if (!head_.collecting) {
    return;
  }
  Collect(head_.compressed, consumed, kMaxHeadBytes);
  Collect(head_.decoded, produced, kInflateWindowBytes);
}

Result<void> GzipScanner::Impl::EndMember() {
  FLOE_RETURN_IF_ERROR(CheckLimits());
  place_ = Place::kBetweenMembers;
  ++members_ended_;
  if (member_decoded_ > 0) {
    output_end_ = compressed_offset_;
  }
  if (unit_.decoded_length >= span_bytes_) {
    FLOE_RETURN_IF_ERROR(EndUnit(compressed_offset_));
  }
  // A unit that has no bytes yet is cheaper from the next member's header on.
  if (unit_.decoded_length == 0) {
    StartUnit(compressed_offset_, Codec::kGzip, 0);
  } else if (head_.collecting) {
    FLOE_RETURN_IF_ERROR(EndHead());
  }
  return Ok();
}

Result<void> GzipScanner::Impl::CutAtBlock(int data_type) {
  // blob:  ... |byte n-1|byte n| ...     bits == 0: the next unit starts with byte n.
  //                   ^ boundary         bits 1..7: it starts with byte n-1, of which it has the
  //                                      `bits` most significant bits; both units fetch the byte.
  FLOE_RETURN_IF_ERROR(EndUnit(compressed_offset_));
  const auto bits = static_cast<uint8_t>(data_type & kUnusedBitsMask);
  StartUnit(compressed_offset_ - (bits != 0 ? 1 : 0), Codec::kDeflate, bits);
  StartHead(bits);
  return Ok();
}

Result<void> GzipScanner::Impl::Flush() {
  if (head_.collecting && head_.decoded.size() == kInflateWindowBytes) {
    FLOE_RETURN_IF_ERROR(EndHead());
  }
  if (output_used_ == 0) {
    return Ok();
  }
  const size_t bytes = std::exchange(output_used_, 0);
  return sink_.OnDecoded(std::span(output_).first(bytes));
}

// The unit's decoded_length is 0 afterwards.
Result<void> GzipScanner::Impl::EndUnit(uint64_t compressed_end) {
  FLOE_RETURN_IF_ERROR(Flush());
  if (head_.collecting) {
    FLOE_RETURN_IF_ERROR(EndHead());
  }
  if (unit_.decoded_length == 0) {
    return Ok();
  }
  unit_.range.length = compressed_end - unit_.range.offset;
  const ScannedUnit ended = std::exchange(unit_, ScannedUnit());
  return sink_.OnUnit(ended);
}

void GzipScanner::Impl::StartUnit(uint64_t compressed_offset, Codec codec, uint8_t bits) {
  unit_ = ScannedUnit();
  unit_.range.offset = compressed_offset;
  unit_.codec = codec;
  unit_.bits = bits;
  head_.collecting = false;
}

void GzipScanner::Impl::StartHead(uint8_t bits) {
  head_.collecting = true;
  head_.bits = bits;
  head_.compressed.clear();
  head_.decoded.clear();
  if (bits != 0) {
    head_.compressed.push_back(last_byte_);
  }
  head_.window.resize(kInflateWindowBytes);
  uInt size = 0;
  inflateGetDictionary(&stream_.z(), reinterpret_cast<Bytef*>(head_.window.data()), &size);
  head_.window.resize(size);
}

Result<void> GzipScanner::Impl::EndHead() {
  head_.collecting = false;
  FLOE_ASSIGN_OR_RETURN(const std::string frame, trimmer_.Trim({.window = head_.window,
                                                                .bits = head_.bits,
                                                                .compressed = head_.compressed,
                                                                .decoded = head_.decoded}));
  if (!frame.empty()) {
    unit_.window = {.offset = windows_.size(), .length = frame.size()};
    windows_ += frame;
  }
  return Ok();
}

Result<std::string> GzipScanner::Impl::Finish() {
  if (place_ != Place::kBetweenMembers || members_ended_ == 0) {
    return DataLoss("gzip: truncated at byte {}", compressed_offset_);
  }
  FLOE_RETURN_IF_ERROR(EndUnit(output_end_));
  return std::move(windows_);
}

GzipScanner::GzipScanner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GzipScanner::~GzipScanner() = default;

Result<std::unique_ptr<GzipScanner>> GzipScanner::Create(GzipScannerOptions options,
                                                         ScanSink& sink) {
  return std::unique_ptr<GzipScanner>(new GzipScanner(std::make_unique<Impl>(options, sink)));
}

Result<void> GzipScanner::Feed(std::span<const std::byte> bytes) { return impl_->Feed(bytes); }
Result<std::string> GzipScanner::Finish() { return impl_->Finish(); }

}  // namespace floe::image
