#include "snapshotter/config.h"

#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::snapshotter {
namespace {

using ::testing::ElementsAre;

TEST(ConfigTest, EmptyFileHasTheDefaults) {
  FLOE_ASSERT_OK_AND_ASSIGN(const Config config, ParseConfig("", "config"));
  EXPECT_EQ(config.log_level, LogLevel::kInfo);
  EXPECT_EQ(config.resolve_timeout, std::chrono::seconds(20));
  EXPECT_EQ(config.index_trust, prepare::IndexTrust::kRepository);
  EXPECT_TRUE(config.stream_missing);
  EXPECT_FALSE(config.publish_streamed);
  EXPECT_FALSE(config.allow_unverified);
  EXPECT_TRUE(config.registry.plain_http.empty());
}

TEST(ConfigTest, EveryKeyIsRead) {
  FLOE_ASSERT_OK_AND_ASSIGN(const Config config, ParseConfig(R"(
log_level = "debug"
resolve_timeout_ms = 5000
[index]
trust = "bound"
fallback = "unpack"
publish = true
allow_unverified = true
[registry]
plain_http = ["reg:5000", "other"]
docker_config_dir = "/root/.docker"
ca_file = "/etc/ca.pem"
)",
                                                             "config"));
  EXPECT_EQ(config.log_level, LogLevel::kDebug);
  EXPECT_EQ(config.resolve_timeout, std::chrono::seconds(5));
  EXPECT_EQ(config.index_trust, prepare::IndexTrust::kBound);
  EXPECT_FALSE(config.stream_missing);
  EXPECT_TRUE(config.publish_streamed);
  EXPECT_TRUE(config.allow_unverified);
  EXPECT_THAT(config.registry.plain_http, ElementsAre("reg:5000", "other"));
  EXPECT_EQ(config.registry.docker_config_dir, "/root/.docker");
  EXPECT_EQ(config.registry.ca_file, "/etc/ca.pem");
}

TEST(ConfigTest, UnknownKeyNamesTheNearest) {
  FLOE_EXPECT_ERROR(ParseConfig("log_levle = \"info\"", "c.toml"), ErrorCode::kInvalidArgument,
                    "c.toml: unknown key log_levle; the nearest known one is log_level");
  FLOE_EXPECT_ERROR(ParseConfig("[registry]\nplain_htp = []", "c.toml"),
                    ErrorCode::kInvalidArgument, "registry.plain_http");
  FLOE_EXPECT_ERROR(ParseConfig("[indx]\ntrust = \"bound\"", "c.toml"), ErrorCode::kInvalidArgument,
                    "index.trust");
}

struct BadConfig {
  const char* text;
  const char* complaint;
};
class BadConfigTest : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigTest, IsRefused) {
  FLOE_EXPECT_ERROR(ParseConfig(GetParam().text, "c.toml"), ErrorCode::kInvalidArgument,
                    GetParam().complaint);
}

INSTANTIATE_TEST_SUITE_P(
    Texts, BadConfigTest,
    ::testing::Values(BadConfig{"a = ", "c.toml: line 1"},
                      BadConfig{"log_level = 1", "log_level: must be a string"},
                      BadConfig{"log_level = \"loud\"", "loud"},
                      BadConfig{"resolve_timeout_ms = 0", "from 1 to 600000"},
                      BadConfig{"resolve_timeout_ms = \"20s\"", "number of milliseconds"},
                      BadConfig{"index = 3", "unknown key index"},
                      BadConfig{"[index]\ntrust = \"everyone\"", "everyone"},
                      BadConfig{"[index]\nfallback = \"guess\"", "use stream or unpack"},
                      BadConfig{"[index]\npublish = \"yes\"", "true or false"},
                      BadConfig{"[registry]\nplain_http = \"reg\"", "list of strings"},
                      BadConfig{"[registry]\nplain_http = [1]", "must be a string"}));

TEST(ConfigTest, MissingFileIsNotFound) {
  const testing::TempDir directory;
  FLOE_EXPECT_ERROR(ReadConfig(directory / "none.toml"), ErrorCode::kNotFound, "none.toml");
}

}  // namespace
}  // namespace floe::snapshotter
