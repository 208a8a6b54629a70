#include "image/stargz/toc_fields.h"

#include <string>

#include <gtest/gtest.h>

namespace floe::image {
namespace {

TEST(DecodeBase64Test, Decodes) {
  EXPECT_EQ(DecodeBase64(""), "");
  EXPECT_EQ(DecodeBase64("MQ=="), "1");
  EXPECT_EQ(DecodeBase64("MTI="), "12");
  EXPECT_EQ(DecodeBase64("eWVz"), "yes");
  EXPECT_EQ(DecodeBase64("+/+/AAAA"), std::string("\xfb\xff\xbf\0\0\0", 6));
}

TEST(DecodeBase64Test, RefusesOtherText) {
  for (const char* text : {"M", "MQ", "MQ=", "====", "M===", "MQ==MQ==", "MQ-_", "MQ\n=", "=MQ="}) {
    EXPECT_FALSE(DecodeBase64(text).has_value()) << text;
  }
}

struct Good {
  const char* text;
  int64_t seconds;
  uint32_t nanoseconds;
};

TEST(ParseRfc3339Test, Parses) {
  for (const Good& good :
       {Good{"1970-01-01T00:00:00Z", 0, 0}, Good{"2023-11-14T22:13:20Z", 1700000000, 0},
        Good{"2023-11-14T22:13:20.1234567Z", 1700000000, 123456700},
        Good{"2023-11-14T22:13:20.1234567899Z", 1700000000, 123456789},
        Good{"2023-11-15T00:13:20+02:00", 1700000000, 0},
        Good{"2023-11-14T16:43:20.5-05:30", 1700000000, 500000000},
        Good{"2024-02-29T00:00:00Z", 1709164800, 0},
        Good{"0001-01-01T00:00:00Z", -62135596800, 0}}) {
    const auto time = ParseRfc3339(good.text);
    ASSERT_TRUE(time.has_value()) << good.text;
    EXPECT_EQ(time->seconds, good.seconds) << good.text;
    EXPECT_EQ(time->nanoseconds, good.nanoseconds) << good.text;
  }
}

TEST(ParseRfc3339Test, RefusesOtherText) {
  for (const char* text :
       {"", "2023-11-14", "2023-11-14T22:13:20", "2023-11-14 22:13:20Z", "2023-13-14T22:13:20Z",
        "2023-02-29T22:13:20Z", "2023-11-14T24:13:20Z", "2023-11-14T22:60:20Z",
        "2023-11-14T22:13:60Z", "2023-11-14T22:13:20.Z", "2023-11-14T22:13:20+2:00",
        "2023-11-14T22:13:20+24:00", "2023-11-14T22:13:20Zx", "-023-11-14T22:13:20Z",
        "2023-00-14T22:13:20Z"}) {
    EXPECT_FALSE(ParseRfc3339(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace floe::image
