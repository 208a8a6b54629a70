#include "image/stream_decoder.h"

#include <zstd.h>

#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/check.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

// Random bytes at both ends, and what compresses well between them.
std::string MakeData() {
  std::mt19937 random(11);
  std::string data(kMaxUnitBytes + 1000, 'm');
  for (size_t i = 0; i < 300000; ++i) {
    data[i] = static_cast<char>(random() >> 24U);
    data[data.size() - 1 - i] = static_cast<char>(random() >> 24U);
  }
  return data;
}

const std::string& Data() {
  static const std::string data = MakeData();
  return data;
}

std::string MakeFrame() {
  std::string frame(ZSTD_compressBound(Data().size()), '\0');
  const size_t size = ZSTD_compress(frame.data(), frame.size(), Data().data(), Data().size(), 1);
  FLOE_CHECK(ZSTD_isError(size) == 0);
  frame.resize(size);
  return frame;
}

const std::string& Frame() {
  static const std::string frame = MakeFrame();
  return frame;
}

UnitView View() {
  UnitView unit;
  unit.range = {.offset = 7, .length = Frame().size()};
  unit.decoded_length = Data().size();
  unit.codec = Codec::kZstd;
  return unit;
}

/// Decodes `frame` in pieces; what came out when there is no more input.
Result<std::string> DecodeAll(std::string_view frame, size_t in_bytes, size_t out_bytes) {
  FLOE_ASSIGN_OR_RETURN(const auto decoder, StreamDecoder::Create(View()));
  std::string decoded;
  std::string out(out_bytes, '\0');
  std::span<const std::byte> input;
  for (;;) {
    if (input.empty()) {
      const std::string_view piece = frame.substr(0, in_bytes);
      input = std::as_bytes(std::span(piece));
      frame.remove_prefix(piece.size());
    }
    const bool last = input.empty();
    FLOE_ASSIGN_OR_RETURN(const size_t count,
                          decoder->Decode(input, std::as_writable_bytes(std::span(out))));
    decoded.append(out, 0, count);
    if (decoder->position() == View().decoded_length || (last && count == 0)) {
      return decoded;
    }
  }
}

TEST(StreamDecoderTest, DecodesHoweverTheBytesComeAndAreTaken) {
  for (const auto& [in, out] :
       {std::pair{Frame().size(), size_t{1} << 20U}, std::pair{size_t{1000}, size_t{1} << 20U},
        std::pair{size_t{100000}, size_t{70000}}}) {
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string decoded, DecodeAll(Frame(), in, out));
    EXPECT_TRUE(decoded == Data()) << in << " " << out;
  }
}

TEST(StreamDecoderTest, WhatFollowsTheUnitIsLeft) {
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string decoded,
                            DecodeAll(Frame() + "anything", 1U << 20U, 1U << 20U));
  EXPECT_TRUE(decoded == Data());
}

TEST(StreamDecoderTest, ATruncatedFrameEndsEarly) {
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string decoded,
                            DecodeAll(std::string_view(Frame()).substr(0, Frame().size() - 100000),
                                      1U << 20U, 1U << 20U));
  EXPECT_LT(decoded.size(), Data().size());
  EXPECT_TRUE(Data().starts_with(decoded));
}

TEST(StreamDecoderTest, BytesThatAreNoFrameAreDataLoss) {
  std::string wrong = Frame();
  wrong[0] = 'x';
  FLOE_EXPECT_ERROR(DecodeAll(wrong, 100, 100), ErrorCode::kDataLoss, "zstd stream at byte 7");
}

TEST(StreamDecoderTest, IsForStreamedUnitsOnly) {
  UnitView unit = View();
  unit.decoded_length = kMaxUnitBytes;
  FLOE_EXPECT_ERROR(StreamDecoder::Create(unit), ErrorCode::kInternal, "not streamed");
}

}  // namespace
}  // namespace floe::image
