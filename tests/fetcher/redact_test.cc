#include "fetcher/redact.h"

#include <gtest/gtest.h>

namespace floe::fetcher {
namespace {

TEST(RedactTest, UrlsLoseUserQueryAndFragment) {
  EXPECT_EQ(RedactUrl("https://h.example:8443/v2/a"), "https://h.example:8443/v2/a");
  EXPECT_EQ(RedactUrl("https://h/a?X-Amz-Signature=s3cret"), "https://h/a?...");
  EXPECT_EQ(RedactUrl("https://h/a#s3cret"), "https://h/a?...");
  EXPECT_EQ(RedactUrl("https://user:s3cret@h/a"), "https://...@h/a");
  EXPECT_EQ(RedactUrl("https://user:s3@cret@h?x"), "https://...@h?...");
}

TEST(RedactTest, TextLosesWhatIsInItsUrls) {
  EXPECT_EQ(RedactText("Failed to open \"HTTP://u:s3cret@h/a?b=s3cret\" (<https://c/d?s3cret>)"),
            "Failed to open \"HTTP://...@h/a?...\" (<https://c/d?...>)");
}

TEST(RedactTest, TextLosesCredentials) {
  EXPECT_EQ(RedactText("Authorization: Bearer s3cret, then"), "Authorization: Bearer ..., then");
  EXPECT_EQ(RedactText("authorization: basic czNjcmV0"), "authorization: basic ...");
}

TEST(RedactTest, TextStaysOneLineOfReasonableLength) {
  EXPECT_EQ(RedactText("a\r\nb\tc\x01"), "a  b c ");
  EXPECT_LE(RedactText(std::string(100000, 'x')).size(), 400U);
  EXPECT_LE(RedactUrl("https://h/" + std::string(100000, 'x')).size(), 400U);
}

}  // namespace
}  // namespace floe::fetcher
