#include "base/file.h"
#include "fetcher/registry/redirect_cache.h"
#include "tests/fetcher/client_fixture.h"
#include "tests/support/fake_clock.h"

namespace floe::fetcher {
namespace {

class RedirectTest : public ClientTest {
 protected:
  RedirectTest() { registry_->RedirectBlobsTo(storage_.get()); }
};

TEST_F(RedirectTest, BytesComeFromTheTarget) {
  ExpectFetches({10, 1000});
  EXPECT_EQ(storage_->CountRequests("GET", "/storage/"), 1);
  EXPECT_EQ(storage_->requests()[0].Header("range"), "bytes=10-1009");
}

TEST_F(RedirectTest, TheTargetIsKept) {
  ExpectFetches({0, 10});
  ExpectFetches({10, 10});
  ExpectFetches({20, 10});
  EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 1);
  EXPECT_EQ(storage_->CountRequests("GET", "/storage/"), 3);
}

TEST_F(RedirectTest, AnExpiredTargetIsResolvedOnceMore) {
  for (int status : {400, 401, 403, 404}) {
    ExpectFetches({0, 10});
    registry_->ForgetRequests();
    storage_->ExpireSignatures(status);
    ExpectFetches({10, 10});
    EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 1) << status;
  }
}

TEST_F(RedirectTest, ATargetThatAlwaysRefusesIsPermissionDenied) {
  storage_->InjectFault({.times = Fault::kForever, .status = 403});
  FLOE_EXPECT_ERROR(Fetch({0, 10}), ErrorCode::kPermissionDenied, "status 403");
  EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 2);
}

TEST_F(RedirectTest, CredentialsNeverGoToAnotherHost) {
  FLOE_ASSERT_OK(WriteFileAtomically(
      config_dir_ / "config.json",
      fmt::format(R"({{"auths":{{"{}":{{"username":"u","password":"p"}}}}}})", registry_->host())));
  registry_->RequireBasic("u", "p");
  ExpectFetches({0, 10});
  registry_->RequireBearer({});
  storage_->ExpireSignatures();
  ExpectFetches({10, 10});
  for (const auto& request : storage_->requests()) {
    EXPECT_EQ(request.Header("authorization"), "") << request.path;
  }
}

TEST_F(RedirectTest, AFailingTargetIsResolvedAnew) {
  ExpectFetches({0, 10});
  auto other = std::make_unique<FakeRegistry>();
  registry_->RedirectBlobsTo(other.get());
  storage_->Stop();
  ExpectFetches({10, 10});
  EXPECT_EQ(other->CountRequests("GET", "/storage/"), 1);
  client_.reset();
}

TEST_F(RedirectTest, ErrorsHideTheSignature) {
  storage_->InjectFault({.times = Fault::kForever, .status = 500});
  Result<std::string> bytes = Fetch({0, 10});
  FLOE_EXPECT_ERROR(bytes, ErrorCode::kUnavailable, "/storage/");
  EXPECT_EQ(bytes.error().message.find("secret"), std::string::npos);
  storage_->Stop();
  bytes = Fetch({0, 10});
  ASSERT_FALSE(bytes.has_value());
  EXPECT_EQ(bytes.error().message.find("secret"), std::string::npos);
}

TEST_F(RedirectTest, LoopsEnd) {
  registry_->InjectFault({.times = Fault::kForever,
                          .status = 307,
                          .headers = {{"Location", "/v2/library/app/blobs/again"}}});
  FLOE_EXPECT_ERROR(Fetch({0, 10}), ErrorCode::kUnknown, "redirects");
  EXPECT_EQ(registry_->CountRequests("GET", ""), 6);
}

TEST_F(RedirectTest, BadLocationsAreRefused) {
  for (const char* location : {"", "ftp://127.0.0.1/x", "http://user:s3cret@127.0.0.1/x"}) {
    registry_->InjectFault({.status = 302, .headers = {{"Location", location}}});
    Result<std::string> bytes = Fetch({0, 10});
    FLOE_EXPECT_ERROR(bytes, ErrorCode::kUnknown, "bad Location");
    EXPECT_EQ(bytes.error().message.find("s3cret"), std::string::npos);
  }
}

TEST_F(RedirectTest, WithinTheRegistryCredentialsStay) {
  FLOE_ASSERT_OK(WriteFileAtomically(
      config_dir_ / "config.json",
      fmt::format(R"({{"auths":{{"{}":{{"username":"u","password":"p"}}}}}})", registry_->host())));
  registry_->RequireBasic("u", "p");
  registry_->RedirectBlobsTo(nullptr);
  ExpectFetches({0, 10});
  Digest other = registry_->AddBlob(repository_.path, blob_ + "x");
  registry_->InjectFault(
      {.status = 308, .headers = {{"Location", "/v2/library/app/blobs/" + other.ToString()}}});
  ExpectFetches({5, 10});
}

TEST(RedirectCacheTest, TargetsAreForgottenAfterAWhile) {
  floe::testing::FakeClock clock;
  RedirectCache cache(clock);
  Repository repository{"r", "p"};
  Digest digest = Digest::Of("x");
  Url url{.scheme = "https", .host = "cdn", .port = 443, .target = "/x"};
  cache.Put(repository, digest, url);
  ASSERT_TRUE(cache.Find(repository, digest).has_value());
  EXPECT_FALSE(cache.Find({"r", "q"}, digest).has_value());
  clock.Advance(RedirectCache::kLifetime);
  EXPECT_FALSE(cache.Find(repository, digest).has_value());
}

TEST(RedirectCacheTest, ItsSizeIsBounded) {
  floe::testing::FakeClock clock;
  RedirectCache cache(clock);
  Url url{.scheme = "https", .host = "cdn", .port = 443, .target = "/x"};
  for (size_t i = 0; i <= RedirectCache::kMaxEntries; ++i) {
    cache.Put({"r", std::to_string(i)}, Digest(), url);
  }
  EXPECT_FALSE(cache.Find({"r", std::to_string(RedirectCache::kMaxEntries)}, Digest()).has_value());
  clock.Advance(RedirectCache::kLifetime);
  cache.Put({"r", "new"}, Digest(), url);
  EXPECT_TRUE(cache.Find({"r", "new"}, Digest()).has_value());
}

}  // namespace
}  // namespace floe::fetcher
