#include "fetcher/auth/token.h"

#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"

namespace floe::fetcher {
namespace {

using std::chrono::seconds;

Challenge Bearer(const std::string& realm) {
  return {.scheme = "bearer", .params = {{"realm", realm}, {"service", "the service"}}};
}

TEST(TokenTest, EitherNameOfTheFieldAndADefaultLifetime) {
  FLOE_ASSERT_OK_AND_ASSIGN(Token token, Token::Parse(R"({"token":"t","expires_in":300})"));
  EXPECT_EQ(token.value, "t");
  EXPECT_EQ(token.lifetime, seconds(300));
  FLOE_ASSERT_OK_AND_ASSIGN(Token access, Token::Parse(R"({"access_token":"a"})"));
  EXPECT_EQ(access.value, "a");
  EXPECT_EQ(access.lifetime, seconds(60));
  FLOE_ASSERT_OK_AND_ASSIGN(Token absurd, Token::Parse(R"({"token":"t","expires_in":1e300})"));
  EXPECT_EQ(absurd.lifetime, seconds(86400));
  FLOE_ASSERT_OK_AND_ASSIGN(Token negative, Token::Parse(R"({"token":"t","expires_in":-1})"));
  EXPECT_EQ(negative.lifetime, seconds(60));
}

TEST(TokenTest, AnAnswerWithoutATokenIsUnauthenticated) {
  for (const char* text : {"", "[]", "{}", R"({"token":""})", R"({"token":7})",
                           R"({"token":"a\r\nX-Evil: 1"})", R"({"token":"a b"})"}) {
    Result<Token> token = Token::Parse(text);
    ASSERT_FALSE(token.has_value()) << text;
    EXPECT_EQ(token.error().code, ErrorCode::kUnauthenticated);
  }
}

TEST(TokenTest, AnonymousRequestsCarryServiceAndScopeOnly) {
  FLOE_ASSERT_OK_AND_ASSIGN(
      HttpRequest request,
      TokenRequest(Bearer("https://auth.example/token?x=y"), "repository:a/b:pull", {}, false));
  EXPECT_EQ(request.method, "GET");
  EXPECT_EQ(request.url,
            "https://auth.example/"
            "token?x=y&service=the%20service&scope=repository%3Aa%2Fb%3Apull&client_id=floe");
  EXPECT_TRUE(request.headers.empty());
}

TEST(TokenTest, TheChallengesOwnScopeComesFirst) {
  Challenge challenge = Bearer("https://auth.example/token");
  challenge.params["scope"] = "repository:mirror/a:pull";
  FLOE_ASSERT_OK_AND_ASSIGN(HttpRequest request,
                            TokenRequest(challenge, "repository:a:pull", {}, false));
  EXPECT_THAT(request.url, ::testing::HasSubstr("scope=repository%3Amirror%2Fa%3Apull"));
}

TEST(TokenTest, APasswordTravelsInTheHeaderAndNotInTheUrl) {
  FLOE_ASSERT_OK_AND_ASSIGN(HttpRequest request,
                            TokenRequest(Bearer("https://auth.example/token"), "s",
                                         {.username = "u", .password = "s3cret"}, false));
  EXPECT_EQ(request.headers.find("Authorization")->second, "Basic dTpzM2NyZXQ=");
  EXPECT_THAT(request.url, ::testing::HasSubstr("account=u"));
  EXPECT_EQ(request.url.find("s3cret"), std::string::npos);
}

TEST(TokenTest, ARefreshTokenIsPosted) {
  FLOE_ASSERT_OK_AND_ASSIGN(
      HttpRequest request,
      TokenRequest(Bearer("https://auth.example/token"), "s:a", {.identity_token = "r&t"}, false));
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.url, "https://auth.example/token");
  EXPECT_EQ(request.body,
            "grant_type=refresh_token&service=the%20service&client_id=floe&scope=s%3Aa&"
            "refresh_token=r%26t");
}

TEST(TokenTest, NoCredentialsOverPlainHttpForARegistryWithTls) {
  Credential credential{.username = "u", .password = "p"};
  FLOE_EXPECT_ERROR(TokenRequest(Bearer("http://auth.example/token"), "s", credential, false),
                    ErrorCode::kFailedPrecondition, "no TLS");
  FLOE_EXPECT_ERROR(TokenRequest(Bearer("nonsense"), "s", credential, false),
                    ErrorCode::kFailedPrecondition, "realm");
  FLOE_EXPECT_OK(TokenRequest(Bearer("http://auth.example/token"), "s", credential, true));
}

}  // namespace
}  // namespace floe::fetcher
