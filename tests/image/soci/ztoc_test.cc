#include "image/soci/ztoc.h"

#include <filesystem>
#include <functional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "image/little_endian.h"
#include "tests/image/gzip_support.h"
#include "tests/image/soci/soci_fixture.h"
#include "tests/image/soci/ztoc_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

using soci::fbs::FileMetadataT;
using soci::fbs::ZtocT;

// --- golden numbers of what other programs wrote ---

struct Golden {
  size_t entries, spans;
  uint64_t archive_bytes, second_in, second_out, last_in, last_out;
  uint8_t last_bits;
};

void ExpectGolden(const std::string& fixture_name, const std::vector<Golden>& expected) {
  if (!std::filesystem::exists(kSociFixtures / fixture_name)) {
    GTEST_SKIP() << kSociFixtures / fixture_name << " is absent";
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const SociFixture fixture, ReadSociFixture(fixture_name));
  ASSERT_EQ(fixture.layers.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE(i);
    FLOE_ASSERT_OK_AND_ASSIGN(const Ztoc ztoc, ParseZtoc(fixture.layers[i].ztoc));
    const auto in = [](const ZtocSpan& span) {
      return span.range.offset + (span.bits != 0 ? 1 : 0);
    };
    EXPECT_EQ(ztoc.algorithm, ZtocAlgorithm::kGzip);
    EXPECT_FALSE(ztoc.start_is_implied);
    EXPECT_EQ(ztoc.blob_bytes, fixture.layers[i].blob.size());
    EXPECT_EQ(ztoc.archive_bytes, expected[i].archive_bytes);
    EXPECT_EQ(ztoc.entries.size(), expected[i].entries);
    ASSERT_EQ(ztoc.spans.size(), expected[i].spans);
    EXPECT_EQ(in(ztoc.spans.front()), 10U);
    if (ztoc.spans.size() > 1) {
      EXPECT_EQ(in(ztoc.spans[1]), expected[i].second_in);
      EXPECT_EQ(ztoc.spans[1].decoded.offset, expected[i].second_out);
    }
    EXPECT_EQ(in(ztoc.spans.back()), expected[i].last_in);
    EXPECT_EQ(ztoc.spans.back().decoded.offset, expected[i].last_out);
    EXPECT_EQ(ztoc.spans.back().bits, expected[i].last_bits);
    EXPECT_EQ(ztoc.spans.back().range.end(), ztoc.blob_bytes);
    EXPECT_EQ(ztoc.spans.back().decoded.end(), ztoc.archive_bytes);
  }
}

TEST(ZtocTest, SpansOfTheFixtureOfVersionTwo) {
  ExpectGolden("soci-v2", {{3161, 20, 15536640, 75756, 437103, 1841929, 15441935, 1},
                           {20, 4, 2124288, 81911, 549176, 238716, 1651822, 4},
                           {9, 1, 8192, 0, 0, 10, 0, 0}});
}

TEST(ZtocTest, SpansOfTheFixtureOfVersionOne) {
  ExpectGolden("soci-index", {{3161, 10, 15536640, 231342, 1467764, 1841929, 15441935, 1},
                              {20, 2, 2124288, 160313, 1099863, 160313, 1099863, 0},
                              {9, 1, 8192, 0, 0, 10, 0, 0}});
}

// --- what a ztoc may not say ---

class ZtocLieTest : public ::testing::Test {
 protected:
  ZtocLieTest() {
    TarArchive archive;
    archive.Directory("d/");
    for (int i = 0; i < 20; ++i) {
      std::string text;
      for (int k = 0; k < 400; ++k) {
        text += std::to_string(k * k * (i + 7));
      }
      archive.File("d/" + std::to_string(i), text);
    }
    archive.End();
    archive_ = archive.bytes();
    blob_ = GzipMember(archive_, {.mem_level = 1});
  }

  /// What ParseZtoc says when `lie` has changed the tables.
  [[nodiscard]] Result<size_t> Parse(const std::function<void(ZtocT&)>& lie) const {
    ZtocT tables = MakeZtoc(archive_, blob_);
    lie(tables);
    const std::string bytes = PackZtoc(tables);
    FLOE_ASSIGN_OR_RETURN(const Ztoc ztoc, ParseZtoc(bytes));
    return ztoc.spans.size();
  }
  [[nodiscard]] Result<size_t> ParseEntry(const std::function<void(FileMetadataT&)>& lie) const {
    return Parse([&](ZtocT& ztoc) { lie(*ztoc.toc->metadata[3]); });
  }
  /// `number` of the record `record` of the checkpoints: 0 in, 1 out.
  static void SetNumber(ZtocT& ztoc, size_t record, size_t number, uint64_t value) {
    std::string text;
    AppendLittleEndian(text, value);
    auto& zinfo = ztoc.compression_info->checkpoints;
    std::copy(text.begin(), text.end(),
              zinfo.begin() + static_cast<ptrdiff_t>(kZinfoHeadBytes + record * kZinfoRecordBytes +
                                                     number * 8));
  }
  static void SetBits(ZtocT& ztoc, size_t record, uint8_t bits) {
    ztoc.compression_info->checkpoints[kZinfoHeadBytes + record * kZinfoRecordBytes + 16] = bits;
  }

  std::string archive_, blob_;
};

TEST_F(ZtocLieTest, HonestOne) {
  FLOE_ASSERT_OK_AND_ASSIGN(const size_t spans, Parse([](ZtocT&) {}));
  EXPECT_GT(spans, 3U);
}

TEST_F(ZtocLieTest, NotAZtoc) {
  for (const std::string& bytes :
       {std::string(), std::string("ztoc"), std::string(4096, '\xFF'), std::string(4096, '\0')}) {
    FLOE_EXPECT_ERROR(ParseZtoc(bytes), ErrorCode::kInvalidArgument, "ztoc");
  }
}

TEST_F(ZtocLieTest, PartsThatAreMissing) {
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { z.toc.reset(); }), ErrorCode::kInvalidArgument, "without");
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { z.compression_info.reset(); }),
                    ErrorCode::kInvalidArgument, "without");
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { z.compression_info->checkpoints.clear(); }),
                    ErrorCode::kInvalidArgument, "checkpoints of 0 bytes");
}

TEST_F(ZtocLieTest, WhatIsNotKnown) {
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { z.version = "1.0"; }), ErrorCode::kUnimplemented, "'1.0'");
  for (const int8_t algorithm : {int8_t{0}, int8_t{3}, int8_t{-1}}) {
    FLOE_EXPECT_ERROR(
        Parse([&](ZtocT& z) { z.compression_info->compression_algorithm = algorithm; }),
        ErrorCode::kUnimplemented, "compression algorithm");
  }
}

TEST_F(ZtocLieTest, Sizes) {
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { z.compressed_archive_size = -1; }), ErrorCode::kDataLoss,
                    "-1 bytes");
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { z.uncompressed_archive_size = -1; }), ErrorCode::kDataLoss,
                    "-1 bytes");
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { z.compressed_archive_size = 20; }), ErrorCode::kDataLoss,
                    "a checkpoint at byte");
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { z.uncompressed_archive_size = 1024; }),
                    ErrorCode::kDataLoss, "a checkpoint at byte");
}

TEST_F(ZtocLieTest, NumberOfSpans) {
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { ++z.compression_info->max_span_id; }),
                    ErrorCode::kDataLoss, "digests");
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { z.compression_info->span_digests.pop_back(); }),
                    ErrorCode::kDataLoss, "digests");
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { z.compression_info->span_digests[1] = "sha256:12"; }),
                    ErrorCode::kInvalidArgument, "span 1");
}

TEST_F(ZtocLieTest, CheckpointsThatAreCutOff) {
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { z.compression_info->checkpoints.pop_back(); }),
                    ErrorCode::kInvalidArgument, "checkpoints of");
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { z.compression_info->checkpoints[0] += 2; }),
                    ErrorCode::kDataLoss, "checkpoints in");
  FLOE_EXPECT_ERROR(
      Parse([](ZtocT& z) { z.compression_info->checkpoints.assign(kZinfoHeadBytes, 0); }),
      ErrorCode::kDataLoss, "0 checkpoints");
}

TEST_F(ZtocLieTest, CheckpointsOutOfOrder) {
  for (const size_t number : {0U, 1U}) {
    for (const uint64_t value : {uint64_t{0}, uint64_t{10}, uint64_t{1} << 40U, ~uint64_t{0}}) {
      FLOE_EXPECT_ERROR(Parse([&](ZtocT& z) { SetNumber(z, 2, number, value); }),
                        ErrorCode::kDataLoss, "checkpoint");
    }
  }
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { SetNumber(z, 0, 0, 9); }), ErrorCode::kDataLoss,
                    "the first checkpoint");
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { SetNumber(z, 0, 1, 1); }), ErrorCode::kDataLoss,
                    "the first checkpoint");
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { SetBits(z, 0, 1); }), ErrorCode::kDataLoss,
                    "the first checkpoint");
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { SetBits(z, 2, 8); }), ErrorCode::kDataLoss, "8 bits");
}

// A checkpoint in front of an empty last block, as Go's writers leave one.
TEST_F(ZtocLieTest, LastSpanMayBeEmpty) {
  FLOE_EXPECT_OK(Parse([&](ZtocT& z) {
    const size_t last = z.compression_info->span_digests.size() - 1;
    SetNumber(z, last, 1, archive_.size());
  }));
}

TEST_F(ZtocLieTest, EntriesOutOfOrder) {
  FLOE_EXPECT_ERROR(Parse([](ZtocT& z) { std::swap(z.toc->metadata[2], z.toc->metadata[3]); }),
                    ErrorCode::kDataLoss, "its header not before");
  FLOE_EXPECT_ERROR(ParseEntry([](FileMetadataT& e) { e.uncompressed_offset += 1; }),
                    ErrorCode::kDataLoss, "entry 3 'd/2': its data begin at");
  FLOE_EXPECT_ERROR(ParseEntry([](FileMetadataT& e) { e.uncompressed_size += 1024; }),
                    ErrorCode::kDataLoss, "entry 4");
}

TEST_F(ZtocLieTest, EntriesOutsideTheArchive) {
  const auto huge = static_cast<int64_t>(archive_.size()) + 1;
  FLOE_EXPECT_ERROR(ParseEntry([&](FileMetadataT& e) { e.uncompressed_offset = huge; }),
                    ErrorCode::kDataLoss, "of an archive of");
  FLOE_EXPECT_ERROR(ParseEntry([&](FileMetadataT& e) { e.uncompressed_size = huge; }),
                    ErrorCode::kDataLoss, "of an archive of");
  FLOE_EXPECT_ERROR(ParseEntry([&](FileMetadataT& e) { e.uncompressed_size = INT64_MAX; }),
                    ErrorCode::kDataLoss, "of an archive of");
  FLOE_EXPECT_ERROR(ParseEntry([](FileMetadataT& e) { e.uncompressed_offset = -512; }),
                    ErrorCode::kDataLoss, "-512 bytes");
  FLOE_EXPECT_ERROR(ParseEntry([](FileMetadataT& e) { e.uncompressed_size = -1; }),
                    ErrorCode::kDataLoss, "-1 bytes");
}

TEST_F(ZtocLieTest, TimesMayBeMissing) {
  FLOE_EXPECT_OK(ParseEntry([](FileMetadataT& e) { e.mod_time.clear(); }));
}

TEST_F(ZtocLieTest, EntriesThatNobodyKnows) {
  FLOE_EXPECT_ERROR(ParseEntry([](FileMetadataT& e) { e.type = "chunk"; }),
                    ErrorCode::kInvalidArgument, "of type 'chunk'");
  FLOE_EXPECT_ERROR(ParseEntry([](FileMetadataT& e) { e.mod_time = "yesterday"; }),
                    ErrorCode::kInvalidArgument, "not a time");
}

// One string, and a million references to it: what is read would be larger than what was fetched.
TEST_F(ZtocLieTest, SharedStringsAreBounded) {
  flatbuffers::FlatBufferBuilder builder;
  const auto name = builder.CreateString(std::string(3000, 'n'));
  const auto type = builder.CreateString("reg");
  const auto time = builder.CreateString("2023-11-14T22:13:20Z");
  std::vector<flatbuffers::Offset<soci::fbs::FileMetadata>> entries;
  for (int i = 1; i <= 1000; ++i) {
    soci::fbs::FileMetadataBuilder entry(builder);
    entry.add_name(name);
    entry.add_type(type);
    entry.add_mod_time(time);
    entry.add_uncompressed_offset(512 * i);
    entries.push_back(entry.Finish());
  }
  const auto toc = soci::fbs::CreateTOCDirect(builder, &entries);
  const ZtocT honest = MakeZtoc(archive_, blob_);
  const auto info = soci::fbs::CreateCompressionInfo(builder, honest.compression_info.get());
  builder.Finish(soci::fbs::CreateZtocDirect(builder, "0.9", "", honest.compressed_archive_size,
                                             1 << 20, toc, info));
  const std::string bytes(reinterpret_cast<const char*>(builder.GetBufferPointer()),
                          builder.GetSize());
  FLOE_EXPECT_ERROR(ParseZtoc(bytes), ErrorCode::kDataLoss, "strings");
}

// One table, and many references to it.
TEST_F(ZtocLieTest, SharedTablesAreBounded) {
  flatbuffers::FlatBufferBuilder builder;
  const auto xattr = soci::fbs::CreateXattrDirect(builder, "k", "v");
  const auto xattrs =
      builder.CreateVector(std::vector<flatbuffers::Offset<soci::fbs::Xattr>>(100000, xattr));
  std::vector<flatbuffers::Offset<soci::fbs::FileMetadata>> entries;
  for (int i = 0; i < 100; ++i) {
    soci::fbs::FileMetadataBuilder entry(builder);
    entry.add_xattrs(xattrs);
    entries.push_back(entry.Finish());
  }
  const auto toc = soci::fbs::CreateTOCDirect(builder, &entries);
  builder.Finish(soci::fbs::CreateZtocDirect(builder, "0.9", "", 1, 1, toc));
  const std::string bytes(reinterpret_cast<const char*>(builder.GetBufferPointer()),
                          builder.GetSize());
  FLOE_EXPECT_ERROR(ParseZtoc(bytes), ErrorCode::kInvalidArgument, "are not a ztoc");
}

// --- layers that are not compressed ---

class PlainZtocTest : public ::testing::Test {
 protected:
  static constexpr int64_t kBytes = 10240;

  static Result<size_t> Parse(int64_t span_bytes, int64_t size, int64_t blob_bytes = kBytes) {
    TarArchive archive;
    archive.File("f", std::string(8704, 'x')).End();
    ZtocT tables = MakeZtoc(archive.bytes(), archive.bytes(), {.uncompressed = true});
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(soci::fbs::CreateTarZinfo(builder, 1, span_bytes, size));
    tables.compressed_archive_size = blob_bytes;
    tables.compression_info->checkpoints.assign(builder.GetBufferPointer(),
                                                builder.GetBufferPointer() + builder.GetSize());
    const std::string bytes = PackZtoc(tables);
    FLOE_ASSIGN_OR_RETURN(const Ztoc ztoc, ParseZtoc(bytes));
    return ztoc.spans.size();
  }
};

TEST_F(PlainZtocTest, EqualCuts) {
  FLOE_ASSERT_OK_AND_ASSIGN(const size_t spans, Parse(4096, kBytes));
  EXPECT_EQ(spans, 3U);
}

TEST_F(PlainZtocTest, Lies) {
  FLOE_EXPECT_ERROR(Parse(0, kBytes), ErrorCode::kDataLoss, "spans of 0 bytes");
  FLOE_EXPECT_ERROR(Parse(-1, kBytes), ErrorCode::kDataLoss, "spans of -1 bytes");
  FLOE_EXPECT_ERROR(Parse(2048, kBytes), ErrorCode::kDataLoss, "digests");
  FLOE_EXPECT_ERROR(Parse(4096, kBytes + 1), ErrorCode::kDataLoss, "not compressed");
  FLOE_EXPECT_ERROR(Parse(4096, -1), ErrorCode::kDataLoss, "not compressed");
  FLOE_EXPECT_ERROR(Parse(4096, kBytes, kBytes - 1), ErrorCode::kDataLoss, "not compressed");
}

TEST(ImpliedGzipHeaderTest, OnlyTheShortOneIsRight) {
  const auto check = [](std::string_view blob) {
    return CheckImpliedGzipHeader(
        std::as_bytes(std::span(blob.data(), std::min<size_t>(blob.size(), 10))));
  };
  FLOE_EXPECT_OK(check(GzipMember("x")));
  FLOE_EXPECT_ERROR(check(GzipMember("x", {.name = "n"})), ErrorCode::kUnimplemented,
                    "optional fields");
  FLOE_EXPECT_ERROR(check("not gzip at all"), ErrorCode::kInvalidArgument, "gzip header");
  FLOE_EXPECT_ERROR(check(GzipMember("x").substr(0, 9)), ErrorCode::kInvalidArgument,
                    "gzip header");
}

}  // namespace
}  // namespace floe::image
