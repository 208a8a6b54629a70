#include "fetcher/auth/docker_config.h"

#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"

namespace floe::fetcher {
namespace {

// dXNlcjpwYTpzcw== is "user:pa:ss".
constexpr const char* kConfig = R"({
  "auths": {
    "https://index.docker.io/v1/": {"auth": "dXNlcjpwYTpzcw=="},
    "ghcr.io": {"username": "u", "password": "p"},
    "https://quay.example/v2/": {"auth": "dXNlcjpwYTpzcw"},
    "acr.example": {"auth": "MDAwOg==", "identitytoken": "refresh"},
    "token.example": {"registrytoken": "direct"},
    "empty.example": {},
    "broken.example": {"auth": "!!!"},
    "odd.example": 7
  },
  "credHelpers": {"ecr.example": "ecr-login", "number.example": 5}
})";

TEST(DockerConfigTest, KeysAreFoundHoweverTheyAreWritten) {
  FLOE_ASSERT_OK_AND_ASSIGN(DockerConfig config, DockerConfig::Parse(kConfig));
  Credential user{.username = "user", .password = "pa:ss"};
  EXPECT_EQ(config.CredentialFor("docker.io"), user);
  EXPECT_EQ(config.CredentialFor("registry-1.docker.io"), user);
  EXPECT_EQ(config.CredentialFor("quay.example"), user);
  EXPECT_EQ(config.CredentialFor("ghcr.io"), (Credential{.username = "u", .password = "p"}));
  EXPECT_EQ(config.CredentialFor("acr.example").identity_token, "refresh");
  EXPECT_EQ(config.CredentialFor("token.example").registry_token, "direct");
}

TEST(DockerConfigTest, NothingIsKnownOfOthers) {
  FLOE_ASSERT_OK_AND_ASSIGN(DockerConfig config, DockerConfig::Parse(kConfig));
  for (const char* registry :
       {"ghcr.io:443", "empty.example", "broken.example", "odd.example", "other.example", ""}) {
    EXPECT_TRUE(config.CredentialFor(registry).empty()) << registry;
  }
}

TEST(DockerConfigTest, ARegistrysOwnHelperComesBeforeTheStore) {
  FLOE_ASSERT_OK_AND_ASSIGN(
      DockerConfig config,
      DockerConfig::Parse(R"({"credsStore":"pass","credHelpers":{"https://ecr.example":"ecr"}})"));
  EXPECT_EQ(config.HelperFor("ecr.example"), "ecr");
  EXPECT_EQ(config.HelperFor("other.example"), "pass");
  FLOE_ASSERT_OK_AND_ASSIGN(DockerConfig without, DockerConfig::Parse(kConfig));
  EXPECT_EQ(without.HelperFor("ecr.example"), "ecr-login");
  EXPECT_EQ(without.HelperFor("number.example"), "");
}

TEST(DockerConfigTest, HelpersKnowDockerHubByItsOldUrl) {
  EXPECT_EQ(CredentialServerUrl("docker.io"), "https://index.docker.io/v1/");
  EXPECT_EQ(CredentialServerUrl("ghcr.io"), "ghcr.io");
}

TEST(DockerConfigTest, WhatIsNoObjectIsRefusedWithoutRepeatingIt) {
  for (const char* text : {"", "[]", "{\"auths\": s3cret}", "null"}) {
    Result<DockerConfig> config = DockerConfig::Parse(text);
    ASSERT_FALSE(config.has_value());
    EXPECT_EQ(config.error().message.find("s3cret"), std::string::npos);
  }
  FLOE_EXPECT_OK(DockerConfig::Parse(R"({"auths": 1, "credHelpers": [], "credsStore": {}})"));
}

TEST(DockerConfigTest, Base64ThereAndBack) {
  for (std::string text : {"", "a", "ab", "abc", "user:password", "\xff\xfe\x00z"}) {
    EXPECT_EQ(Base64Decode(Base64Encode(text)), text);
  }
  EXPECT_EQ(Base64Encode("user:pa:ss"), "dXNlcjpwYTpzcw==");
  EXPECT_EQ(Base64Decode("dXNl cg"), "");
}

}  // namespace
}  // namespace floe::fetcher
