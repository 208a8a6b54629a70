#include "image/rfc3339.h"

#include <string>

#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

struct Case {
  const char* text;
  int64_t seconds;
  uint32_t nanoseconds;
};

TEST(Rfc3339Test, ReadsWhatGoWrites) {
  for (const Case& c :
       {Case{"2023-11-14T22:13:20Z", 1700000000, 0},
        Case{"2023-11-14T22:13:20.5Z", 1700000000, 500000000},
        Case{"2023-11-14T22:13:20.000000001Z", 1700000000, 1},
        Case{"2023-11-14T22:13:20.1234567899Z", 1700000000, 123456789},
        Case{"2023-11-14T23:13:20+01:00", 1700000000, 0},
        Case{"2023-11-14T16:43:20-05:30", 1700000000, 0}, Case{"1970-01-01T00:00:00Z", 0, 0},
        Case{"1969-12-31T23:59:59.25Z", -1, 250000000}, Case{"2024-02-29T00:00:00Z", 1709164800, 0},
        Case{"0001-01-01T00:00:00Z", -62135596800, 0},
        Case{"9999-12-31T23:59:59Z", 253402300799, 0}}) {
    SCOPED_TRACE(c.text);
    FLOE_ASSERT_OK_AND_ASSIGN(const PaxTime time, ParseRfc3339(c.text));
    EXPECT_EQ(time.seconds, c.seconds);
    EXPECT_EQ(time.nanoseconds, c.nanoseconds);
  }
}

TEST(Rfc3339Test, RefusesWhatIsNone) {
  for (const char* text :
       {"", "2023-11-14", "2023-11-14T22:13:20", "2023-11-14 22:13:20Z", "2023-11-14T22:13Z",
        "2023-11-14T22:13:20.Z", "2023-11-14T22:13:20ZZ", "2023-13-14T22:13:20Z",
        "2023-02-29T22:13:20Z", "2023-11-14T24:13:20Z", "2023-11-14T22:60:20Z",
        "2023-11-14T22:13:60Z", "2023-11-14T22:13:20+25:00", "2023-11-14T22:13:20+0100",
        "12023-11-14T22:13:20Z", "-023-11-14T22:13:20Z", "2023-11-14T22:13:20+", "now"}) {
    SCOPED_TRACE(text);
    FLOE_EXPECT_ERROR(ParseRfc3339(text), ErrorCode::kInvalidArgument, "not a time");
  }
}

TEST(Rfc3339Test, DoesNotReadEndlessFractions) {
  FLOE_EXPECT_ERROR(ParseRfc3339("2023-11-14T22:13:20." + std::string(1U << 20U, '0') + "Z"),
                    ErrorCode::kInvalidArgument, "not a time");
}

}  // namespace
}  // namespace floe::image
