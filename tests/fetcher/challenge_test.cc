#include "fetcher/auth/challenge.h"

#include <gtest/gtest.h>

namespace floe::fetcher {
namespace {

TEST(ChallengeTest, BearerWithQuotedParameters) {
  auto challenges = ParseChallenges(
      R"(Bearer realm="https://auth.example/token",service="registry, the \"one\"",scope="repository:a/b:pull,push")");
  ASSERT_EQ(challenges.size(), 1U);
  EXPECT_EQ(challenges[0].scheme, "bearer");
  EXPECT_EQ(challenges[0].Param("realm"), "https://auth.example/token");
  EXPECT_EQ(challenges[0].Param("service"), "registry, the \"one\"");
  EXPECT_EQ(challenges[0].Param("scope"), "repository:a/b:pull,push");
  EXPECT_EQ(challenges[0].Param("error"), "");
}

TEST(ChallengeTest, SeveralChallengesInOneHeader) {
  auto challenges =
      ParseChallenges("Negotiate, BASIC Realm = \"x\" , Bearer realm=y, service=\"z\"");
  ASSERT_EQ(challenges.size(), 3U);
  EXPECT_EQ(challenges[0].scheme, "negotiate");
  EXPECT_TRUE(challenges[0].params.empty());
  EXPECT_EQ(challenges[1].scheme, "basic");
  EXPECT_EQ(challenges[1].Param("realm"), "x");
  EXPECT_EQ(challenges[2].scheme, "bearer");
  EXPECT_EQ(challenges[2].Param("realm"), "y");
  EXPECT_EQ(challenges[2].Param("service"), "z");
}

TEST(ChallengeTest, AToken68EndsTheList) {
  auto challenges = ParseChallenges("Negotiate dG9rZW4=, Basic realm=\"x\"");
  ASSERT_GE(challenges.size(), 1U);
  EXPECT_EQ(challenges[0].scheme, "negotiate");
}

TEST(ChallengeTest, RubbishYieldsNothingOrWhatCameBefore) {
  EXPECT_TRUE(ParseChallenges("").empty());
  EXPECT_TRUE(ParseChallenges(" , ,").empty());
  EXPECT_TRUE(ParseChallenges("=").empty());
  EXPECT_TRUE(ParseChallenges("a=b").empty());
  auto open_quote = ParseChallenges("Bearer realm=\"never closed");
  ASSERT_EQ(open_quote.size(), 1U);
  EXPECT_EQ(open_quote[0].Param("realm"), "");
}

TEST(ChallengeTest, HostileLengthIsBounded) {
  std::string many;
  for (int i = 0; i < 100000; ++i) {
    many += "Basic realm=\"x\", ";
  }
  EXPECT_LE(ParseChallenges(many).size(), 16U);
}

}  // namespace
}  // namespace floe::fetcher
