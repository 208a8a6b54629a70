#include <thread>

#include "base/file.h"
#include "tests/fetcher/client_fixture.h"

namespace floe::fetcher {
namespace {

class AuthenticationTest : public ClientTest {
 protected:
  void Login(const std::string& entry) {
    FLOE_ASSERT_OK(
        WriteFileAtomically(config_dir_ / "config.json",
                            fmt::format(R"({{"auths":{{"{}":{}}}}})", registry_->host(), entry)));
  }

  /// So many ranges at once.
  std::vector<Result<std::string>> FetchMany(size_t count) {
    Results results;
    std::vector<std::unique_ptr<FetchHandle>> handles;
    for (size_t i = 0; i < count; ++i) {
      handles.push_back(client().FetchRange(Wanted({i * 10, 10}), results.Add()));
    }
    return results.Wait(count);
  }
};

TEST_F(AuthenticationTest, BasicCredentialsAreShownOnlyWhenAskedFor) {
  Login(R"({"username":"user","password":"p"})");
  ExpectFetches({0, 10});
  EXPECT_EQ(registry_->requests()[0].Header("authorization"), "");
  registry_->RequireBasic("user", "p");
  ExpectFetches({0, 10});
  ExpectFetches({10, 10});
  auto requests = registry_->requests();
  ASSERT_EQ(requests.size(), 4U);  // Open, refused, granted, granted at once.
  EXPECT_EQ(requests[3].Header("authorization"), floe::testing::BasicAuthorization("user", "p"));
}

TEST_F(AuthenticationTest, WithoutCredentialsBasicIsUnauthenticated) {
  registry_->RequireBasic("user", "s3cret");
  FLOE_EXPECT_ERROR(Fetch({0, 10}), ErrorCode::kUnauthenticated, "there are none");
  EXPECT_EQ(registry_->CountRequests("", ""), 1);
}

TEST_F(AuthenticationTest, WrongCredentialsAreUnauthenticatedAndNotRepeated) {
  Login(R"({"username":"user","password":"wr0ng"})");
  registry_->RequireBasic("user", "right");
  Result<std::string> bytes = Fetch({0, 10});
  FLOE_EXPECT_ERROR(bytes, ErrorCode::kUnauthenticated, "");
  EXPECT_EQ(bytes.error().message.find("wr0ng"), std::string::npos);
  EXPECT_LE(registry_->CountRequests("", ""), 2);
}

TEST_F(AuthenticationTest, ChangedCredentialsAreTakenUpAfterARefusal) {
  Login(R"({"username":"user","password":"old"})");
  registry_->RequireBasic("user", "old");
  ExpectFetches({0, 10});
  Login(R"({"username":"user","password":"brand new"})");
  registry_->RequireBasic("user", "brand new");
  ExpectFetches({0, 10});
}

TEST_F(AuthenticationTest, AnonymousTokensAreFetchedOnce) {
  registry_->RequireBearer({});
  ExpectFetches({0, 10});
  ExpectFetches({10, 10});
  EXPECT_EQ(registry_->CountRequests("GET", "/token"), 1);
  EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 3);
}

TEST_F(AuthenticationTest, ATokenIsBoughtWithThePassword) {
  registry_->RequireBearer({.user = "user", .password = "p"});
  FLOE_EXPECT_ERROR(Fetch({0, 10}), ErrorCode::kUnauthenticated, "token for");
  Login(R"({"username":"user","password":"p"})");
  ExpectFetches({0, 10});
  for (const auto& request : registry_->requests()) {
    if (request.path != "/token") {
      EXPECT_FALSE(request.Header("authorization").starts_with("Basic"));
    }
  }
}

TEST_F(AuthenticationTest, ATokenIsBoughtWithARefreshToken) {
  registry_->RequireBearer({.refresh_token = "refresh"});
  Login(R"({"identitytoken":"refresh"})");
  ExpectFetches({0, 10});
  EXPECT_EQ(registry_->CountRequests("POST", "/token"), 1);
}

TEST_F(AuthenticationTest, ManyRangesAtOnceShareOneToken) {
  registry_->RequireBearer({});
  for (const auto& result : FetchMany(32)) {
    FLOE_EXPECT_OK(result);
  }
  EXPECT_EQ(registry_->CountRequests("GET", "/token"), 1);
}

TEST_F(AuthenticationTest, ARevokedTokenIsRenewedOnceForAll) {
  registry_->RequireBearer({});
  ExpectFetches({0, 10});
  registry_->RevokeTokens();
  for (const auto& result : FetchMany(32)) {
    FLOE_EXPECT_OK(result);
  }
  EXPECT_EQ(registry_->CountRequests("GET", "/token"), 2);
}

TEST_F(AuthenticationTest, AnExpiredTokenIsRenewedBeforeItIsRefused) {
  registry_->RequireBearer({.lifetime = seconds(1)});  // Nine tenths of it round down to nothing.
  ExpectFetches({0, 10});
  registry_->ForgetRequests();
  ExpectFetches({0, 10});
  EXPECT_EQ(registry_->CountRequests("GET", "/token"), 1);
  EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 1);
}

TEST_F(AuthenticationTest, AnotherRepositoryGetsATokenOfItsOwnAhead) {
  registry_->RequireBearer({});
  ExpectFetches({0, 10});
  Digest other = registry_->AddBlob("other/app", "0123456789");
  registry_->ForgetRequests();
  FLOE_EXPECT_OK(client().FetchRangeSync({.repository = {registry_->host(), "other/app"},
                                          .digest = other,
                                          .range = {0, 5},
                                          .deadline = Soon()}));
  EXPECT_EQ(registry_->CountRequests("GET", "/token"), 1);
  EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 1);
}

TEST_F(AuthenticationTest, PushesAskForTheRightToPush) {
  registry_->RequireBearer({});
  ExpectFetches({0, 10});
  FLOE_EXPECT_OK(client().PushBlob(repository_, Digest::Of("new"), "new", Soon()));
  EXPECT_EQ(registry_->requests().back().method, "PUT");
}

TEST_F(AuthenticationTest, ATokenServerOutOfOrderIsTriedAgain) {
  registry_->RequireBearer({});
  registry_->InjectFault({.path_contains = "/token", .times = 2, .status = 503});
  ExpectFetches({0, 10});
  registry_->RevokeTokens();
  registry_->InjectFault({.path_contains = "/token", .times = Fault::kForever, .status = 503});
  FLOE_EXPECT_ERROR(Fetch({0, 10}), ErrorCode::kUnavailable, "token for");
}

TEST_F(AuthenticationTest, ASilentTokenServerEndsWithTheDeadline) {
  registry_->RequireBearer({});
  registry_->InjectFault({.kind = Fault::Kind::kHang, .path_contains = "/token"});
  FLOE_EXPECT_ERROR(Fetch({0, 10}, Deadline::After(milliseconds(50))), ErrorCode::kDeadlineExceeded,
                    "");
}

TEST_F(AuthenticationTest, A403WithATokenIsTakenForAnExpiredOneOnce) {
  registry_->RequireBearer({});
  ExpectFetches({0, 10});
  registry_->ForgetRequests();
  registry_->InjectFault({.path_contains = "/blobs/", .status = 403});
  ExpectFetches({0, 10});
  EXPECT_EQ(registry_->CountRequests("GET", "/token"), 1);
  registry_->InjectFault({.path_contains = "/blobs/", .times = 2, .status = 403});
  FLOE_EXPECT_ERROR(Fetch({0, 10}), ErrorCode::kPermissionDenied, "status 403");
}

TEST_F(AuthenticationTest, ARegistryThatRefusesItsOwnTokensIsUnauthenticated) {
  registry_->RequireBearer({});
  registry_->InjectFault({.path_contains = "/blobs/",
                          .times = Fault::kForever,
                          .status = 401,
                          .headers = {{"WWW-Authenticate", fmt::format("Bearer realm=\"{}/token\"",
                                                                       registry_->url())}}});
  FLOE_EXPECT_ERROR(Fetch({0, 10}), ErrorCode::kUnauthenticated, "status 401");
  EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 2);
}

TEST_F(AuthenticationTest, UnknownSchemesAreUnauthenticated) {
  registry_->InjectFault(
      {.times = 2, .status = 401, .headers = {{"WWW-Authenticate", "Negotiate"}}});
  FLOE_EXPECT_ERROR(Fetch({0, 10}), ErrorCode::kUnauthenticated, "neither Bearer nor Basic");
}

TEST_F(AuthenticationTest, AHelperIsAskedWhereTheConfigurationNamesOne) {
  std::string old_path = std::getenv("PATH");
  ::setenv("PATH", (config_dir_.path().native() + ":" + old_path).c_str(), 1);
  FLOE_ASSERT_OK(WriteFileAtomically(config_dir_ / "docker-credential-fake",
                                     "#!/bin/sh\n"
                                     "printf '{\"Username\":\"user\",\"Secret\":\"p\"}'\n",
                                     0700));
  FLOE_ASSERT_OK(
      WriteFileAtomically(config_dir_ / "config.json",
                          fmt::format(R"({{"credHelpers":{{"{}":"fake"}}}})", registry_->host())));
  registry_->RequireBasic("user", "p");
  ExpectFetches({0, 10});
  ::setenv("PATH", old_path.c_str(), 1);
}

}  // namespace
}  // namespace floe::fetcher
