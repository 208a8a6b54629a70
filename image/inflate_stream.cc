#include "image/inflate_stream.h"

#include <limits>

#include "base/check.h"

namespace floe::image {
namespace {

constexpr int kRawDeflate = -15;
constexpr int kGzipOnly = 15 + 16;

}  // namespace

InflateStream::InflateStream() = default;

InflateStream::~InflateStream() {
  if (initialised_) {
    inflateEnd(&z_);
  }
}

Result<void> InflateStream::Start(int window_bits) {
  const int status =
      initialised_ ? inflateReset2(&z_, window_bits) : inflateInit2(&z_, window_bits);
  if (status != Z_OK) {
    return ResourceExhausted("no memory for an inflate state");
  }
  initialised_ = true;
  return Ok();
}

Result<void> InflateStream::StartGzip() { return Start(kGzipOnly); }

Result<void> InflateStream::StartDeflate(uint8_t bits, std::byte first_byte,
                                         std::span<const std::byte> window) {
  FLOE_CHECK(bits < 8 && window.size() <= kInflateWindowBytes);
  FLOE_RETURN_IF_ERROR(Start(kRawDeflate));
  if (bits != 0) {
    inflatePrime(&z_, bits, std::to_integer<int>(first_byte) >> (8 - bits));
  }
  if (!window.empty() && inflateSetDictionary(&z_, reinterpret_cast<const Bytef*>(window.data()),
                                              static_cast<uInt>(window.size())) != Z_OK) {
    return ResourceExhausted("no memory for an inflate window");
  }
  return Ok();
}

void InflateStream::SetInput(std::span<const std::byte> bytes) {
  FLOE_CHECK(bytes.size() <= std::numeric_limits<uInt>::max());
  // zlib does not write through next_in; it is const only when compiled with ZLIB_CONST.
  z_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
  z_.avail_in = static_cast<uInt>(bytes.size());
}

void InflateStream::SetOutput(std::span<std::byte> bytes) {
  FLOE_CHECK(bytes.size() <= std::numeric_limits<uInt>::max());
  z_.next_out = reinterpret_cast<Bytef*>(bytes.data());
  z_.avail_out = static_cast<uInt>(bytes.size());
}

}  // namespace floe::image
