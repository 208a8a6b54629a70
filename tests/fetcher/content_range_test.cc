#include "fetcher/http/content_range.h"

#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"

namespace floe::fetcher {
namespace {

HttpResponse Answer(int status, const std::string& content_range, const std::string& length = "") {
  HttpResponse response;
  response.status = status;
  if (!content_range.empty()) {
    response.headers.emplace("content-range", content_range);
  }
  if (!length.empty()) {
    response.headers.emplace("content-length", length);
  }
  return response;
}

TEST(ContentRangeTest, FirstLastAndTotal) {
  FLOE_ASSERT_OK_AND_ASSIGN(ContentRange range, ContentRange::Parse("bytes 10-19/100"));
  EXPECT_EQ(range.range, (ByteRange{10, 10}));
  EXPECT_EQ(range.total_bytes, 100U);
}

TEST(ContentRangeTest, UnknownTotal) {
  FLOE_ASSERT_OK_AND_ASSIGN(ContentRange range, ContentRange::Parse("Bytes 0-0/*"));
  EXPECT_EQ(range.range, (ByteRange{0, 1}));
  EXPECT_FALSE(range.total_bytes.has_value());
}

TEST(ContentRangeTest, AnythingElseIsDataLoss) {
  for (const char* text :
       {"", "bytes", "bytes ", "bytes 1-2", "bytes 2-1/10", "bytes 0-9/9", "bytes */10",
        "bytes -5/10", "bytes 0-/10", "bytes 0-9/10 ", "bytes 0-9/10x", "bytes 0-9/",
        "items 0-9/10", "bytes 0-18446744073709551616/*", "bytes 0-18446744073709551615/*",
        "bytes +1-2/3", "bytes 1 - 2/3", "bytes=0-9/10"}) {
    Result<ContentRange> range = ContentRange::Parse(text);
    ASSERT_FALSE(range.has_value()) << text;
    EXPECT_EQ(range.error().code, ErrorCode::kDataLoss) << text;
  }
}

TEST(ContentRangeTest, ARequestNamesTheLastByte) {
  EXPECT_EQ(RangeHeader({0, 1}), "bytes=0-0");
  EXPECT_EQ(RangeHeader({4096, 4096}), "bytes=4096-8191");
}

TEST(ContentRangeTest, OnlyTheWantedRangePasses) {
  ByteRange wanted{10, 10};
  FLOE_EXPECT_OK(CheckRangeAnswer(Answer(206, "bytes 10-19/100"), wanted));
  FLOE_EXPECT_OK(CheckRangeAnswer(Answer(206, "bytes 10-19/*", "10"), wanted));
  FLOE_EXPECT_ERROR(CheckRangeAnswer(Answer(206, "bytes 10-19/*", "11"), wanted),
                    ErrorCode::kDataLoss, "Content-Length 11");
  FLOE_EXPECT_ERROR(CheckRangeAnswer(Answer(206, "bytes 11-20/100"), wanted), ErrorCode::kDataLoss,
                    "[11, 21) instead of [10, 20)");
  FLOE_EXPECT_ERROR(CheckRangeAnswer(Answer(206, "bytes 10-18/100"), wanted), ErrorCode::kDataLoss,
                    "instead of");
  FLOE_EXPECT_ERROR(CheckRangeAnswer(Answer(206, ""), wanted), ErrorCode::kDataLoss,
                    "bad Content-Range");
  FLOE_EXPECT_ERROR(CheckRangeAnswer(Answer(200, "", "10"), wanted), ErrorCode::kDataLoss,
                    "status 200");
  FLOE_EXPECT_ERROR(CheckRangeAnswer(Answer(204, ""), wanted), ErrorCode::kDataLoss, "status 204");
}

TEST(ContentRangeTest, ABlobOfAnotherSizeIsRefused) {
  const ByteRange wanted{10, 10};
  FLOE_EXPECT_OK(CheckRangeAnswer(Answer(206, "bytes 10-19/100"), wanted, 100));
  FLOE_EXPECT_OK(CheckRangeAnswer(Answer(206, "bytes 10-19/*"), wanted, 100));
  FLOE_EXPECT_ERROR(CheckRangeAnswer(Answer(206, "bytes 10-19/101"), wanted, 100),
                    ErrorCode::kDataLoss, "101 bytes instead of 100");
  // It ends within the range.
  FLOE_EXPECT_ERROR(CheckRangeAnswer(Answer(206, "bytes 10-14/15", "5"), wanted, 100),
                    ErrorCode::kDataLoss, "15 bytes instead of 100");
  FLOE_EXPECT_ERROR(CheckRangeAnswer(Answer(200, "", "10"), {0, 10}, 100), ErrorCode::kDataLoss,
                    "status 200");
}

TEST(ContentRangeTest, EveryRefusalNamesItsFault) {
  const ByteRange wanted{10, 10};
  const std::pair<HttpResponse, FaultKind> rows[] = {
      {Answer(200, "", "100"), FaultKind::kRangeIgnored},
      {Answer(204, ""), FaultKind::kRangeIgnored},
      {Answer(206, ""), FaultKind::kWrongContentRange},
      {Answer(206, "bytes 11-20/100", "10"), FaultKind::kWrongContentRange},
      {Answer(206, "bytes 0-99/100", "100"), FaultKind::kWrongContentRange},
      {Answer(206, "bytes 10-19/100", "9"), FaultKind::kWrongSize},
      {Answer(206, "bytes 10-19/99", "10"), FaultKind::kWrongSize},
  };
  for (const auto& [response, fault] : rows) {
    Result<void> checked = CheckRangeAnswer(response, wanted, 100);
    ASSERT_FALSE(checked.has_value()) << FaultKindName(fault);
    EXPECT_EQ(checked.error().fault, fault) << checked.error().message;
  }
}

TEST(ContentRangeTest, A200PassesOnlyForTheWholeBlob) {
  FLOE_EXPECT_OK(CheckRangeAnswer(Answer(200, "", "10"), {0, 10}));
  FLOE_EXPECT_ERROR(CheckRangeAnswer(Answer(200, "", "11"), {0, 10}), ErrorCode::kDataLoss, "200");
  FLOE_EXPECT_ERROR(CheckRangeAnswer(Answer(200, ""), {0, 10}), ErrorCode::kDataLoss, "200");
}

}  // namespace
}  // namespace floe::fetcher
