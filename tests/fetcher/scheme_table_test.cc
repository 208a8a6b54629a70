#include "fetcher/registry/scheme_table.h"

#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"

namespace floe::fetcher {
namespace {

TEST(SchemeTableTest, PlainOnlyForLoopbackPortsAndTheConfigured) {
  SchemeTable table({"plain.example:5000", "plain.example"});
  const std::pair<const char*, const char*> rows[] = {
      {"docker.io", "https://registry-1.docker.io/"},
      {"ghcr.io", "https://ghcr.io/"},
      {"ghcr.io:5000", "https://ghcr.io:5000/"},
      {"127.0.0.1:5000", "http://127.0.0.1:5000/"},
      {"[::1]:5000", "http://[::1]:5000/"},
      {"localhost:80", "http://localhost/"},
      {"localhost", "https://localhost/"},
      {"localhost:443", "https://localhost/"},
      {"plain.example", "http://plain.example/"},
      {"plain.example:5000", "http://plain.example:5000/"},
      {"plain.example:5001", "https://plain.example:5001/"},
  };
  for (const auto& [registry, base] : rows) {
    FLOE_ASSERT_OK_AND_ASSIGN(Url url, table.BaseUrl(registry));
    EXPECT_EQ(url.ToString(), base);
  }
}

TEST(SchemeTableTest, OnlyAGuessIsGivenUpAndOnlyOnce) {
  SchemeTable table({"plain.example"});
  for (const char* registry : {"127.0.0.1:1", "127.0.0.1:2", "plain.example", "ghcr.io"}) {
    FLOE_ASSERT_OK(table.BaseUrl(registry));
  }
  EXPECT_TRUE(table.TryTlsInstead("127.0.0.1:1"));
  EXPECT_FALSE(table.TryTlsInstead("127.0.0.1:1"));
  FLOE_ASSERT_OK_AND_ASSIGN(Url tls, table.BaseUrl("127.0.0.1:1"));
  EXPECT_EQ(tls.ToString(), "https://127.0.0.1:1/");
  table.Confirm("127.0.0.1:2");
  EXPECT_FALSE(table.TryTlsInstead("127.0.0.1:2"));
  EXPECT_FALSE(table.TryTlsInstead("plain.example"));
  EXPECT_FALSE(table.TryTlsInstead("ghcr.io"));
}

TEST(SchemeTableTest, RedirectsMayLeaveTlsForConfiguredHostsOnly) {
  SchemeTable table({"plain.example:5000", "other.example"});
  EXPECT_TRUE(table.IsConfiguredPlain({"http", "plain.example", 5000, "/"}));
  EXPECT_FALSE(table.IsConfiguredPlain({"http", "plain.example", 80, "/"}));
  EXPECT_TRUE(table.IsConfiguredPlain({"http", "other.example", 80, "/"}));
  EXPECT_FALSE(table.IsConfiguredPlain({"http", "127.0.0.1", 80, "/"}));
}

}  // namespace
}  // namespace floe::fetcher
