#include "image/gzip_scanner.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/image/gzip_support.h"
#include "tests/image/scan_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

struct Scan {
  RecordingSink sink;
  std::string windows;
};

Result<void> RunScan(std::string_view blob, uint64_t span_bytes, size_t step, Scan& scan) {
  FLOE_ASSIGN_OR_RETURN(const auto scanner,
                        GzipScanner::Create({.span_bytes = span_bytes}, scan.sink));
  FLOE_ASSIGN_OR_RETURN(scan.windows, ScanAll(*scanner, blob, step));
  return Ok();
}

// Every unit alone decodes to its part of `data`; ranges and windows lie in order.
void ExpectUnitsDecode(const Scan& scan, std::string_view blob, std::string_view data) {
  UnitDecoder decoder;
  uint64_t decoded_at = 0;
  uint64_t compressed_at = 0;
  uint64_t window_at = 0;
  for (const ScannedUnit& unit : scan.sink.units) {
    SCOPED_TRACE(decoded_at);
    ASSERT_LE(unit.range.end(), blob.size());
    ASSERT_GE(unit.range.offset + (unit.bits != 0 ? 1 : 0), compressed_at);
    ASSERT_LE(unit.window.end(), scan.windows.size());
    if (!unit.window.empty()) {
      ASSERT_EQ(unit.window.offset, window_at);
      window_at = unit.window.end();
    }
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string decoded,
                              DecodeUnit(decoder, unit, blob, scan.windows));
    ASSERT_TRUE(decoded == data.substr(decoded_at, unit.decoded_length));
    decoded_at += unit.decoded_length;
    compressed_at = unit.range.end();
  }
  EXPECT_EQ(decoded_at, data.size());
  EXPECT_EQ(window_at, scan.windows.size());
}

void ExpectScans(std::string_view blob, std::string_view data, uint64_t span_bytes) {
  Scan scan;
  FLOE_ASSERT_OK(RunScan(blob, span_bytes, 1U << 20U, scan));
  ASSERT_TRUE(scan.sink.decoded == data);
  ExpectUnitsDecode(scan, blob, data);
}

TEST(GzipScannerTest, UnitsOfRandomStreamsDecodeAlone) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 60; ++round) {
    std::string blob;
    std::string data;
    const size_t members = 1 + random() % 3;
    for (size_t i = 0; i < members; ++i) {
      const std::string part = MixedData(random, random() % 300000);
      blob += GzipMember(part, {.level = static_cast<int>(random() % 10),
                                .strategy = random() % 4 == 0 ? Z_FIXED : Z_DEFAULT_STRATEGY,
                                .mem_level = static_cast<int>(1 + random() % 9),
                                .flush_every = random() % 3 == 0 ? 1 + random() % 50000 : 0,
                                .extra = std::string(random() % 2 * 7, 'x'),
                                .name = std::string(random() % 2 * 5, 'n'),
                                .comment = std::string(random() % 2 * 3, 'c'),
                                .header_crc = random() % 2 == 0});
      data += part;
    }
    SCOPED_TRACE(round);
    ExpectScans(blob, data, 1 + random() % 100000);
    if (HasFatalFailure() || HasNonfatalFailure()) {
      return;
    }
  }
}

TEST(GzipScannerTest, CutsTheSameUnitsHoweverTheBytesAreSplit) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const std::string blob = GzipMember(MixedData(random, 400000), {.mem_level = 3}) +
                           GzipMember(MixedData(random, 100000), {.flush_every = 10000});
  Scan whole;
  FLOE_ASSERT_OK(RunScan(blob, 20000, blob.size(), whole));
  ASSERT_GT(whole.sink.units.size(), 5U);
  for (const size_t step : {size_t{1}, size_t{2}, size_t{7}, size_t{1000}, size_t{65536}}) {
    SCOPED_TRACE(step);
    Scan split;
    FLOE_ASSERT_OK(RunScan(blob, 20000, step, split));
    ASSERT_EQ(split.sink.units.size(), whole.sink.units.size());
    for (size_t i = 0; i < whole.sink.units.size(); ++i) {
      EXPECT_EQ(split.sink.units[i].range, whole.sink.units[i].range);
      EXPECT_EQ(split.sink.units[i].window, whole.sink.units[i].window);
      EXPECT_EQ(split.sink.units[i].bits, whole.sink.units[i].bits);
    }
    EXPECT_TRUE(split.windows == whole.windows);
  }
}

TEST(GzipScannerTest, FixturesOfOtherToolsDecodeFromEveryCheckpoint) {
  const std::filesystem::path directory = FLOE_SOURCE_DIR "/../shared/fixtures/gzip";
  if (!std::filesystem::exists(directory)) {
    GTEST_SKIP() << directory << " is not there";
  }
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    SCOPED_TRACE(entry.path());
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string blob, ReadFile(entry.path()));
    const std::string data = GunzipAll(blob);
    for (const uint64_t span : {4096U, 65536U, 262144U, 1048576U}) {
      ExpectScans(blob, data, span);
    }
    ++files;
  }
  EXPECT_GE(files, 5U);
}

TEST(GzipScannerTest, AUnitThatRefersToNothingHasNoWindow) {
  std::mt19937_64 random(7);
  std::string data;
  for (size_t i = 0; i < 300000; ++i) {
    data.push_back(static_cast<char>(random()));
  }
  const std::string blob = GzipMember(data, {.level = 0});
  Scan scan;
  FLOE_ASSERT_OK(RunScan(blob, 50000, blob.size(), scan));
  EXPECT_GT(scan.sink.units.size(), 3U);
  EXPECT_TRUE(scan.windows.empty());
  ExpectUnitsDecode(scan, blob, data);
}

TEST(GzipScannerTest, AWindowKeepsOnlyWhatTheUnitRefersTo) {
  // Random bytes cannot be compressed, but for one copy from 20000 bytes before the flush.
  std::mt19937_64 random(11);
  std::string data;
  for (size_t i = 0; i < 60000; ++i) {
    data.push_back(static_cast<char>(random()));
  }
  data += data.substr(40000, 100);
  data += "the end";
  const std::string blob = GzipMember(data, {.level = 9, .flush_every = 60000});
  Scan scan;
  FLOE_ASSERT_OK(RunScan(blob, 60000, blob.size(), scan));
  ASSERT_EQ(scan.sink.units.size(), 2U);
  const ScannedUnit& unit = scan.sink.units[1];
  ASSERT_FALSE(unit.window.empty());
  std::string window(32768, '\0');
  window.resize(
      ZSTD_decompress(window.data(), window.size(), scan.windows.data(), scan.windows.size()));
  ASSERT_EQ(window.size(), 20000U);
  EXPECT_EQ(window.substr(0, 100), data.substr(40000, 100));
  EXPECT_EQ(window.find_first_not_of('\0', 100), std::string::npos);
  EXPECT_LT(scan.windows.size(), 200U);
  ExpectUnitsDecode(scan, blob, data);
}

TEST(GzipScannerTest, MembersStartUnitsWithoutWindows) {
  std::mt19937_64 random(3);
  std::string blob;
  std::string data;
  for (int i = 0; i < 10; ++i) {
    const std::string part = MixedData(random, 30000);
    blob += GzipMember(part);
    data += part;
  }
  Scan scan;
  FLOE_ASSERT_OK(RunScan(blob, 30000, 4096, scan));
  EXPECT_EQ(scan.sink.units.size(), 10U);
  EXPECT_TRUE(std::all_of(scan.sink.units.begin(), scan.sink.units.end(), [](const auto& unit) {
    return unit.codec == Codec::kGzip && unit.decoded_length == 30000;
  }));
  ExpectUnitsDecode(scan, blob, data);
}

TEST(GzipScannerTest, SmallMembersShareAUnit) {
  std::string blob;
  std::string data;
  for (int i = 0; i < 100; ++i) {
    blob += GzipMember("member");
    data += "member";
  }
  Scan scan;
  FLOE_ASSERT_OK(RunScan(blob, 300, 11, scan));
  EXPECT_EQ(scan.sink.units.size(), 2U);
  ExpectUnitsDecode(scan, blob, data);
}

TEST(GzipScannerTest, EmptyMembersBelongToNoUnit) {
  const std::string empty = GzipMember("");
  const std::string full = GzipMember("bytes");
  const std::string blob = empty + empty + full + empty;
  Scan scan;
  FLOE_ASSERT_OK(RunScan(blob, 1000, 5, scan));
  ASSERT_EQ(scan.sink.units.size(), 1U);
  EXPECT_EQ(scan.sink.units[0].range, (ByteRange{2 * empty.size(), full.size()}));
  Scan only_empty;
  FLOE_ASSERT_OK(RunScan(empty, 1000, 5, only_empty));
  EXPECT_TRUE(only_empty.sink.units.empty());
}

TEST(GzipScannerTest, RefusesWhatIsNotAMemberAfterTheLastOne) {
  const std::string blob = GzipMember("bytes");
  Scan zeros;
  FLOE_EXPECT_ERROR(RunScan(blob + std::string(512, '\0'), 1000, 100, zeros),
                    ErrorCode::kInvalidArgument, "what follows the last member");
  Scan garbage;
  FLOE_EXPECT_ERROR(RunScan(blob + "garbage", 1000, 100, garbage), ErrorCode::kInvalidArgument,
                    "what follows the last member");
  Scan plain;
  FLOE_EXPECT_ERROR(RunScan("not gzip at all", 1000, 100, plain), ErrorCode::kInvalidArgument,
                    "bad header");
}

TEST(GzipScannerTest, ReportsTruncationAtEveryByte) {
  std::mt19937_64 random(5);
  const std::string blob =
      GzipMember(MixedData(random, 3000), {.name = "file", .header_crc = true}) +
      GzipMember("second");
  const size_t first_member = blob.size() - GzipMember("second").size();
  for (size_t size = 0; size < blob.size(); ++size) {
    if (size == first_member) {
      continue;
    }
    Scan scan;
    FLOE_EXPECT_ERROR(RunScan(blob.substr(0, size), 1000, 64, scan), ErrorCode::kDataLoss,
                      "truncated");
  }
}

TEST(GzipScannerTest, ChecksTheChecksumAndTheLengthOfEachMember) {
  const std::string good = GzipMember("some bytes that are checked");
  for (const size_t from_end : {8U, 5U, 4U, 1U}) {
    std::string bad = good;
    bad[bad.size() - from_end] = static_cast<char>(bad[bad.size() - from_end] ^ 1);
    Scan scan;
    FLOE_EXPECT_ERROR(RunScan(bad + good, 1000, 100, scan), ErrorCode::kDataLoss, "corrupt");
  }
}

TEST(GzipScannerTest, CorruptBytesNeverDecodeToOtherBytes) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const std::string data = MixedData(random, 100000);
  const std::string blob = GzipMember(data, {.mem_level = 4});
  for (int round = 0; round < 300; ++round) {
    std::string bad = blob;
    bad[random() % bad.size()] ^= static_cast<char>(1U << random() % 8);
    Scan scan;
    if (RunScan(bad, 10000, 4096, scan).has_value()) {
      EXPECT_TRUE(scan.sink.decoded == data);
    }
  }
}

TEST(GzipScannerTest, TheSinksErrorEndsTheScan) {
  const std::string bomb = GzipMember(std::string(50U << 20U, '\0'));
  Scan scan;
  scan.sink.limit = 1U << 20U;
  FLOE_EXPECT_ERROR(RunScan(bomb, 1000, 4096, scan), ErrorCode::kResourceExhausted, "more than");
  EXPECT_LT(scan.sink.decoded.size(), 2U << 20U);
}

TEST(GzipScannerTest, ABlockThatIsTooLargeForAUnitIsUnimplemented) {
  // Fixed Huffman codes: one block of matches (length 258, distance 1) as long as we like.
  std::string stream("\x1f\x8b\x08\0\0\0\0\0\0\xff", 10);
  uint64_t bit_buffer = 0;
  unsigned bit_count = 0;
  const auto put = [&](uint64_t value, unsigned bits) {
    bit_buffer |= value << bit_count;
    bit_count += bits;
    for (; bit_count >= 8; bit_count -= 8, bit_buffer >>= 8U) {
      stream.push_back(static_cast<char>(bit_buffer));
    }
  };
  put(0b011, 3);       // Last block, fixed codes.
  put(0b00001100, 8);  // Literal 0 is 00110000, codes come most significant bit first.
  for (uint64_t i = 0; i < kMaxUnitBytes / 258 + 2; ++i) {
    put(0b10100011, 8);  // Length 258 is symbol 285, 11000101.
    put(0, 5);           // Distance 1.
  }
  Scan scan;
  FLOE_EXPECT_ERROR(RunScan(stream, 1U << 18U, 65536, scan), ErrorCode::kUnimplemented,
                    "no place for a checkpoint");
}

}  // namespace
}  // namespace floe::image
