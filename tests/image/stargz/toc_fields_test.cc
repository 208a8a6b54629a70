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

}  // namespace
}  // namespace floe::image
