#include "image/soci/soci_prefetch.h"

#include <string>

#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

TEST(SociPrefetchTest, LowPrioritiesComeFirst) {
  FLOE_ASSERT_OK_AND_ASSIGN(const auto runs,
                            ParseSociPrefetch(R"({"version":"1.0","prefetch_spans":[
          {"start_span":10,"end_span":15,"priority":2},{"start_span":50,"end_span":55,"priority":1},
          {"end_span":3},{"start_span":7,"end_span":7}]})",
                                              56));
  ASSERT_EQ(runs.size(), 4U);
  EXPECT_EQ(runs[0].first, 0U);
  EXPECT_EQ(runs[0].last, 3U);
  EXPECT_EQ(runs[1].first, 7U);
  EXPECT_EQ(runs[2].first, 50U);
  EXPECT_EQ(runs[3].first, 10U);
}

TEST(SociPrefetchTest, RefusesWhatIsNone) {
  for (const char* text : {"", "[]", "{}", R"({"version":"2.0","prefetch_spans":[]})",
                           R"({"version":"1.0"})", R"({"version":"1.0","prefetch_spans":[1]})",
                           R"({"version":"1.0","prefetch_spans":[{"start_span":2,"end_span":1}]})",
                           R"({"version":"1.0","prefetch_spans":[{"start_span":-1}]})",
                           R"({"version":"1.0","prefetch_spans":[{"start_span":"1"}]})"}) {
    FLOE_EXPECT_ERROR(ParseSociPrefetch(text, 100), ErrorCode::kInvalidArgument, "prefetch");
  }
  FLOE_EXPECT_ERROR(ParseSociPrefetch(std::string(2U << 20U, ' '), 100),
                    ErrorCode::kInvalidArgument, "bytes");
}

TEST(SociPrefetchTest, SpansThatTheZtocHasNot) {
  const char* text = R"({"version":"1.0","prefetch_spans":[{"start_span":1,"end_span":4}]})";
  FLOE_EXPECT_OK(ParseSociPrefetch(text, 5));
  FLOE_EXPECT_ERROR(ParseSociPrefetch(text, 4), ErrorCode::kDataLoss, "spans 1 to 4 of 4");
}

}  // namespace
}  // namespace floe::image
