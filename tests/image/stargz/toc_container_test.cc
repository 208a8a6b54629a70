#include "image/stargz/toc_container.h"

#include <zstd.h>

#include <string>

#include <gtest/gtest.h>

#include "tests/image/gzip_support.h"
#include "tests/image/stargz/stargz_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

const std::string kJson = R"({"version":1,"entries":[]})";

std::string TarWith(const std::string& name) {
  TarArchive archive;
  archive.File(name, kJson);
  return archive.End().bytes();
}
std::string Zstd(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

TEST(TocContainerTest, GzipHoldsAnArchiveWithTheJson) {
  const std::string gzip = GzipMember(TarWith("stargz.index.json"));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string json, DecodeGzipToc(BytesOf(gzip)));
  EXPECT_EQ(json, kJson);
}

TEST(TocContainerTest, OtherArchivesAreRefused) {
  FLOE_EXPECT_ERROR(DecodeGzipToc(BytesOf(GzipMember(TarWith("other")))),
                    ErrorCode::kInvalidArgument, "begins with 'other'");
  FLOE_EXPECT_ERROR(DecodeGzipToc(BytesOf(GzipMember(std::string(1024, '\0')))),
                    ErrorCode::kInvalidArgument, "is empty");
  const std::string cut = TarWith("stargz.index.json").substr(0, 520);
  FLOE_EXPECT_ERROR(DecodeGzipToc(BytesOf(GzipMember(cut))), ErrorCode::kInvalidArgument, "");
}

TEST(TocContainerTest, BadGzipIsRefused) {
  const std::string gzip = GzipMember(TarWith("stargz.index.json"));
  FLOE_EXPECT_ERROR(DecodeGzipToc(BytesOf(gzip.substr(0, gzip.size() - 1))), ErrorCode::kDataLoss,
                    "ends early");
  FLOE_EXPECT_ERROR(DecodeGzipToc({}), ErrorCode::kDataLoss, "ends early");
  FLOE_EXPECT_ERROR(DecodeGzipToc(BytesOf(gzip + "x")), ErrorCode::kDataLoss, "");
  FLOE_EXPECT_ERROR(DecodeGzipToc(BytesOf("no gzip at all")), ErrorCode::kDataLoss, "not decode");
}

TEST(TocContainerTest, GzipBombIsRefused) {
  FLOE_EXPECT_ERROR(DecodeGzipToc(BytesOf(GzipMember(std::string(151U << 20U, '\0')))),
                    ErrorCode::kResourceExhausted, "more than 157286400");
}

TEST(TocContainerTest, ZstdHoldsTheJson) {
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string json, DecodeZstdToc(BytesOf(Zstd(kJson)), 26));
  EXPECT_EQ(json, kJson);
  FLOE_EXPECT_OK(DecodeZstdToc(BytesOf(Zstd(kJson)), 1000));
}

TEST(TocContainerTest, BadZstdIsRefused) {
  const std::string zstd = Zstd(kJson);
  FLOE_EXPECT_ERROR(DecodeZstdToc(BytesOf(zstd), 25), ErrorCode::kDataLoss, "more than the 25");
  FLOE_EXPECT_ERROR(DecodeZstdToc(BytesOf(zstd.substr(0, zstd.size() - 1)), 26),
                    ErrorCode::kDataLoss, "ends early");
  FLOE_EXPECT_ERROR(DecodeZstdToc({}, 26), ErrorCode::kDataLoss, "ends early");
  FLOE_EXPECT_ERROR(DecodeZstdToc(BytesOf(kJson), 26), ErrorCode::kDataLoss, "not decode");
  FLOE_EXPECT_ERROR(DecodeZstdToc(BytesOf(Zstd(std::string(1U << 20U, '\0'))), 1000),
                    ErrorCode::kDataLoss, "more than the 1000");
  FLOE_EXPECT_ERROR(DecodeZstdToc(BytesOf(zstd), 151U << 20U), ErrorCode::kResourceExhausted, "");
}

TEST(TocContainerTest, WhateverIsAnnotatedMustMatch) {
  FLOE_EXPECT_OK(CheckCompressedToc({}, BytesOf("zstd")));
  FLOE_EXPECT_OK(CheckTocJson({}, "json"));
  const TocAnnotations right{
      .toc_digest = Digest::Of("json"), .compressed_digest = Digest::Of("zstd"), .position = {}};
  FLOE_EXPECT_OK(CheckCompressedToc(right, BytesOf("zstd")));
  FLOE_EXPECT_OK(CheckTocJson(right, "json"));
  FLOE_EXPECT_ERROR(CheckCompressedToc(right, BytesOf("zstD")), ErrorCode::kDataLoss,
                    "compressed table of contents is not sha256:");
  FLOE_EXPECT_ERROR(CheckTocJson(right, "jsoN"), ErrorCode::kDataLoss,
                    "table of contents is not sha256:");
}

}  // namespace
}  // namespace floe::image
