#include "image/zstd_scanner.h"

#include <zstd.h>

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/check.h"
#include "image/plain_scanner.h"
#include "tests/image/scan_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

// Without `sized` the header does not say how much the frame decodes to, as a streaming encoder's.
std::string ZstdFrame(std::string_view data, bool sized = true, bool checksum = false) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, sized ? 1 : 0);
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, checksum ? 1 : 0);
  std::string out(ZSTD_compressBound(data.size()), '\0');
  const size_t size = ZSTD_compress2(context, out.data(), out.size(), data.data(), data.size());
  FLOE_CHECK(ZSTD_isError(size) == 0);
  ZSTD_freeCCtx(context);
  out.resize(size);
  return out;
}

std::string SkippableFrame(std::string_view data) {
  std::string frame("\x50\x2a\x4d\x18", 4);
  for (unsigned shift = 0; shift < 32; shift += 8) {
    frame.push_back(static_cast<char>(data.size() >> shift));
  }
  return frame + std::string(data);
}

Result<void> RunScan(std::string_view blob, uint64_t span_bytes, size_t step, RecordingSink& sink) {
  FLOE_ASSIGN_OR_RETURN(const auto scanner, ZstdScanner::Create({.span_bytes = span_bytes}, sink));
  FLOE_ASSIGN_OR_RETURN(const std::string windows, ScanAll(*scanner, blob, step));
  EXPECT_TRUE(windows.empty());
  return Ok();
}

void ExpectUnitsDecode(const RecordingSink& sink, std::string_view blob, std::string_view data) {
  UnitDecoder decoder;
  uint64_t at = 0;
  uint64_t compressed_at = 0;
  for (const ScannedUnit& unit : sink.units) {
    ASSERT_EQ(unit.codec, Codec::kZstd);
    ASSERT_GE(unit.range.offset, compressed_at);
    compressed_at = unit.range.end();
    ASSERT_LE(compressed_at, blob.size());
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string decoded, DecodeUnit(decoder, unit, blob, ""));
    ASSERT_TRUE(decoded == data.substr(at, unit.decoded_length));
    at += unit.decoded_length;
  }
  EXPECT_EQ(at, data.size());
}

TEST(ZstdScannerTest, UnitsOfRandomFramesDecodeAlone) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 40; ++round) {
    SCOPED_TRACE(round);
    std::string blob;
    std::string data;
    for (size_t frames = 1 + random() % 20; frames > 0; --frames) {
      if (random() % 5 == 0) {
        blob += SkippableFrame(std::string(random() % 3000, 's'));
        continue;
      }
      const std::string part = MixedData(random, random() % (1U << random() % 19));
      blob += ZstdFrame(part, random() % 2 == 0, random() % 2 == 0);
      data += part;
    }
    const uint64_t span = 1 + random() % 100000;
    RecordingSink whole;
    FLOE_ASSERT_OK(RunScan(blob, span, blob.size(), whole));
    ASSERT_TRUE(whole.decoded == data);
    ExpectUnitsDecode(whole, blob, data);
    RecordingSink split;
    FLOE_ASSERT_OK(RunScan(blob, span, 1 + random() % 300, split));
    ASSERT_EQ(split.units.size(), whole.units.size());
    for (size_t i = 0; i < whole.units.size(); ++i) {
      ASSERT_EQ(split.units[i].range, whole.units[i].range);
    }
    if (HasFatalFailure()) {
      return;
    }
  }
}

TEST(ZstdScannerTest, SmallFramesShareAUnitAndALargeOneIsAlone) {
  const std::string small = ZstdFrame(std::string(100, 'a'), false);
  const std::string large = ZstdFrame(std::string(100000, 'b'), false);
  const std::string blob = small + small + small + large + small;
  RecordingSink sink;
  FLOE_ASSERT_OK(RunScan(blob, 250, 9, sink));
  ASSERT_EQ(sink.units.size(), 4U);
  EXPECT_EQ(sink.units[0].range, (ByteRange{0, 2 * small.size()}));
  EXPECT_EQ(sink.units[1].range, (ByteRange{2 * small.size(), small.size()}));
  EXPECT_EQ(sink.units[2].range, (ByteRange{3 * small.size(), large.size()}));
  EXPECT_EQ(sink.units[3].decoded_length, 100U);
}

TEST(ZstdScannerTest, SkippableAndEmptyFramesBelongToNoUnit) {
  const std::string frame = ZstdFrame("bytes");
  const std::string skipped = SkippableFrame("a table of contents");
  const std::string blob = skipped + ZstdFrame("") + frame + skipped + frame + ZstdFrame("");
  RecordingSink sink;
  FLOE_ASSERT_OK(RunScan(blob, 1000, 3, sink));
  ASSERT_EQ(sink.units.size(), 2U);
  EXPECT_EQ(sink.units[0].range.offset, skipped.size() + ZstdFrame("").size());
  EXPECT_EQ(sink.units[0].range.length, frame.size());
  EXPECT_EQ(sink.units[1].range.length, frame.size());
}

TEST(ZstdScannerTest, RefusesAFrameThatIsTooLargeAsEarlyAsItsHeader) {
  using std::string_literals::operator""s;
  // Window of 1 MiB, content size of 2^43 + 1 bytes.
  const std::string header = "\x28\xb5\x2f\xfd\xc0\x50\x01\x00\x00\x00\x00\x08\x00\x00"s;
  RecordingSink sink;
  FLOE_EXPECT_ERROR(RunScan(header, 1000, 18, sink), ErrorCode::kUnimplemented,
                    "decodes to 8796093022209 bytes");
  EXPECT_TRUE(sink.decoded.empty());
}

TEST(ZstdScannerTest, RefusesALargerWindowThan128MiB) {
  using std::string_literals::operator""s;
  RecordingSink sink;
  // 2^10 * 2^17 bytes, then 1/8 of it more.
  const std::string most = "\x28\xb5\x2f\xfd\x00\x88\x21\x00\x00last"s;
  FLOE_EXPECT_OK(RunScan(most, 1000, 5, sink));
  const std::string more = "\x28\xb5\x2f\xfd\x00\x89\x21\x00\x00last"s;
  FLOE_EXPECT_ERROR(RunScan(more, 1000, 5, sink), ErrorCode::kUnimplemented, "too large a window");
}

TEST(ZstdScannerTest, AFrameLargerThanAnyOtherUnitIsOneStreamedUnit) {
  const std::string large = ZstdFrame(std::string(kMaxUnitBytes + 1, '\0'), false);
  const std::string small = ZstdFrame("small");
  const std::string blob = small + large + small;
  RecordingSink sink;
  FLOE_ASSERT_OK(RunScan(blob, 1000, 4096, sink));
  ASSERT_EQ(sink.units.size(), 3U);
  EXPECT_EQ(sink.units[1].range, (ByteRange{small.size(), large.size()}));
  EXPECT_EQ(sink.units[1].decoded_length, kMaxUnitBytes + 1);
  EXPECT_TRUE(IsStreamed(sink.units[1].codec, sink.units[1].decoded_length));
}

TEST(ZstdScannerTest, AFrameOfTheLargestUnitIsTaken) {
  const std::string data(kMaxUnitBytes, 'x');
  const std::string blob = ZstdFrame(data, false);
  RecordingSink sink;
  FLOE_ASSERT_OK(RunScan(blob, 1U << 18U, 4096, sink));
  ASSERT_EQ(sink.units.size(), 1U);
  ExpectUnitsDecode(sink, blob, data);
}

TEST(ZstdScannerTest, ReportsTruncationAtEveryByte) {
  std::mt19937_64 random(5);
  const std::string blob = ZstdFrame(MixedData(random, 2000));
  for (size_t size = 0; size < blob.size(); ++size) {
    RecordingSink sink;
    FLOE_EXPECT_ERROR(RunScan(blob.substr(0, size), 1000, 64, sink), ErrorCode::kDataLoss,
                      "truncated");
  }
}

TEST(ZstdScannerTest, ReportsCorruptionAndWhatIsNotZstd) {
  const std::string blob = ZstdFrame(std::string(5000, 'x') + "tail", true, true);
  std::string bad = blob;
  bad.back() ^= 1;
  RecordingSink corrupt;
  FLOE_EXPECT_ERROR(RunScan(bad, 1000, 64, corrupt), ErrorCode::kDataLoss, "corrupt");
  RecordingSink other;
  FLOE_EXPECT_ERROR(RunScan("this is not zstd", 1000, 2, other), ErrorCode::kInvalidArgument,
                    "no frame at byte 0");
  RecordingSink trailing;
  FLOE_EXPECT_ERROR(RunScan(blob + "trailing", 1000, 64, trailing), ErrorCode::kInvalidArgument,
                    "no frame at byte");
}

// libzstd decodes it as a stream but not as a whole frame: the units would never decode.
TEST(ZstdScannerTest, RefusesACompressedBlockWithoutBytes) {
  using std::string_literals::operator""s;
  const std::string header = "\x28\xb5\x2f\xfd\x00\x00"s;  // Window of 1 KiB, no content size.
  const std::string raw = "\x08\x00\x00x"s;
  const std::string empty = "\x04\x00\x00"s;
  const std::string last = "\x21\x00\x00last"s;
  for (const size_t step : {1U, 2U, 7U, 100U}) {
    RecordingSink sink;
    FLOE_EXPECT_ERROR(RunScan(header + raw + empty + last, 4096, step, sink), ErrorCode::kDataLoss,
                      "an empty compressed block near byte");
  }
  RecordingSink sink;
  FLOE_ASSERT_OK(RunScan(header + raw + last, 4096, 1, sink));
  EXPECT_EQ(sink.decoded, "xlast");
}

TEST(PlainScannerTest, CutsEverySpanAndTheRest) {
  const std::string data(2500, 'p');
  for (const size_t step : {size_t{1}, size_t{999}, size_t{5000}}) {
    RecordingSink sink;
    PlainScanner scanner(1000, sink);
    FLOE_ASSERT_OK(ScanAll(scanner, data, step));
    EXPECT_EQ(sink.decoded, data);
    ASSERT_EQ(sink.units.size(), 3U);
    EXPECT_EQ(sink.units[1].range, (ByteRange{1000, 1000}));
    EXPECT_EQ(sink.units[2].range, (ByteRange{2000, 500}));
    EXPECT_EQ(sink.units[2].decoded_length, 500U);
  }
}

}  // namespace
}  // namespace floe::image
