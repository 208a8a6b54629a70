#include "fetcher/http/url.h"

#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"

namespace floe::fetcher {
namespace {

TEST(UrlTest, PartsAndDefaults) {
  FLOE_ASSERT_OK_AND_ASSIGN(Url url, Url::Parse("HTTPS://Example.COM/a/b?c=d#e"));
  EXPECT_EQ(url.scheme, "https");
  EXPECT_EQ(url.host, "example.com");
  EXPECT_EQ(url.port, 443);
  EXPECT_EQ(url.target, "/a/b?c=d");
  EXPECT_EQ(url.ToString(), "https://example.com/a/b?c=d");
  FLOE_ASSERT_OK_AND_ASSIGN(Url other, Url::Parse("http://[::1]:5000?q"));
  EXPECT_EQ(other.ToString(), "http://[::1]:5000/?q");
}

TEST(UrlTest, LocationsAreResolved) {
  FLOE_ASSERT_OK_AND_ASSIGN(Url base, Url::Parse("https://r.example:8443/v2/a/blobs/x?y=/z"));
  const std::pair<const char*, const char*> rows[] = {
      {"https://cdn.example/b?s=1", "https://cdn.example/b?s=1"},
      {"//cdn.example/b", "https://cdn.example/b"},
      {"/v2/b", "https://r.example:8443/v2/b"},
      {"y?z=http://w", "https://r.example:8443/v2/a/blobs/y?z=http://w"},
      {"?q=1", "https://r.example:8443/v2/a/blobs/x?q=1"},
  };
  for (const auto& [location, wanted] : rows) {
    FLOE_ASSERT_OK_AND_ASSIGN(Url url, base.Resolve(location));
    EXPECT_EQ(url.ToString(), wanted);
  }
}

TEST(UrlTest, WhatCannotBeSpokenToIsRefusedWithoutRepeatingIt) {
  for (const char* text :
       {"", "example.com", "ftp://example.com/secret", "http://", "http:///secret",
        "http://user:secret@example.com/", "http://a:0/", "http://a:65536/", "http://a b/secret",
        "http://a/secret\r\nX: y", "file:///secret"}) {
    Result<Url> url = Url::Parse(text);
    ASSERT_FALSE(url.has_value()) << text;
    EXPECT_EQ(url.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(url.error().message.find("secret"), std::string::npos);
  }
}

TEST(UrlTest, LoopbackIsAnAddressAndNotAName) {
  EXPECT_TRUE(IsLoopbackHost("127.0.0.1"));
  EXPECT_TRUE(IsLoopbackHost("127.9.8.7"));
  EXPECT_TRUE(IsLoopbackHost("[::1]"));
  EXPECT_TRUE(IsLoopbackHost("localhost"));
  EXPECT_FALSE(IsLoopbackHost("127.evil.example"));
  EXPECT_FALSE(IsLoopbackHost("127.0.0.1.example"));
  EXPECT_FALSE(IsLoopbackHost("128.0.0.1"));
  EXPECT_FALSE(IsLoopbackHost("localhost.example"));
}

TEST(UrlTest, EncodingKeepsOnlyUnreservedCharacters) {
  EXPECT_EQ(PercentEncode("repository:a/b:pull,push ~"), "repository%3Aa%2Fb%3Apull%2Cpush%20~");
}

}  // namespace
}  // namespace floe::fetcher
