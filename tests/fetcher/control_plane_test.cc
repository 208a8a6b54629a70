#include "fetcher/registry/media_types.h"
#include "fetcher/registry/referrers.h"
#include "tests/fetcher/client_fixture.h"

namespace floe::fetcher {
namespace {

constexpr const char* kManifestType = "application/vnd.oci.image.manifest.v1+json";

class ControlPlaneTest : public ClientTest {
 protected:
  static std::string ManifestWithSubject(const Digest& subject, const std::string& artifact_type,
                                         int number = 0) {
    return fmt::format(
        R"({{"schemaVersion":2,"artifactType":"{}","number":{},"subject":{{"digest":"{}"}}}})",
        artifact_type, number, subject.ToString());
  }
  Result<std::vector<ReferrerDescriptor>> Referrers(const std::string& type = "") {
    return client().ListReferrers(repository_, subject_, type, Soon());
  }

  const Digest subject_ = Digest::Of("subject");
};

// --- manifests ---

TEST_F(ControlPlaneTest, ManifestsByTagAndByDigest) {
  Digest digest = registry_->AddManifest(repository_.path, "v1", kManifestType, "{}");
  for (const std::string& name : {std::string("v1"), digest.ToString()}) {
    FLOE_ASSERT_OK_AND_ASSIGN(Manifest manifest, client().GetManifest(repository_, name, Soon()));
    EXPECT_EQ(manifest.digest, digest);
    EXPECT_EQ(manifest.media_type, kManifestType);
    EXPECT_EQ(manifest.bytes, "{}");
  }
  EXPECT_THAT(registry_->requests()[0].Header("accept"), ::testing::HasSubstr("vnd.oci.image"));
}

TEST_F(ControlPlaneTest, AManifestWhoseBytesAreOthersIsDataLoss) {
  Digest digest = registry_->AddManifest(repository_.path, "v1", kManifestType, "{\"a\":1}");
  registry_->InjectFault({.kind = Fault::Kind::kCorrupt, .times = 2});
  FLOE_EXPECT_ERROR(client().GetManifest(repository_, digest.ToString(), Soon()),
                    ErrorCode::kDataLoss, digest.ToString());
  FLOE_EXPECT_ERROR(client().GetManifest(repository_, "v1", Soon()), ErrorCode::kDataLoss,
                    digest.ToString());
}

TEST_F(ControlPlaneTest, AManifestSaysItsTypeWhereTheHeaderDoesNot) {
  registry_->AddManifest(repository_.path, "a", "application/json",
                         R"({"mediaType":"application/vnd.oci.image.index.v1+json"})");
  FLOE_ASSERT_OK_AND_ASSIGN(Manifest manifest, client().GetManifest(repository_, "a", Soon()));
  EXPECT_EQ(manifest.media_type, kOciIndexMediaType);
}

TEST_F(ControlPlaneTest, AbsurdManifestsAndNamesAreRefused) {
  registry_->AddManifest(repository_.path, "big", kManifestType, std::string(5 << 20, ' '));
  FLOE_EXPECT_ERROR(client().GetManifest(repository_, "big", Soon()), ErrorCode::kResourceExhausted,
                    "longer than");
  FLOE_EXPECT_ERROR(client().GetManifest(repository_, "missing", Soon()), ErrorCode::kNotFound,
                    "MANIFEST_UNKNOWN");
  for (const char* name : {"", "a/b", "..", "a?b", "a b"}) {
    FLOE_EXPECT_ERROR(client().GetManifest(repository_, name, Soon()), ErrorCode::kInvalidArgument,
                      "neither a tag nor a digest");
  }
}

TEST_F(ControlPlaneTest, BadRegistriesAreRefused) {
  for (const char* registry : {"", "a b", "host/path", "host:0", "user@host"}) {
    FLOE_EXPECT_ERROR(client().GetManifest({registry, "app"}, "v1", Soon()),
                      ErrorCode::kInvalidArgument, "is no registry");
  }
}

// --- whole blobs ---

TEST_F(ControlPlaneTest, SmallBlobsAreCheckedByDigest) {
  FLOE_ASSERT_OK_AND_ASSIGN(std::string bytes,
                            client().GetBlob(repository_, digest_, 1 << 20, Soon()));
  EXPECT_EQ(bytes, blob_);
  registry_->InjectFault({.kind = Fault::Kind::kCorrupt});
  FLOE_EXPECT_ERROR(client().GetBlob(repository_, digest_, 1 << 20, Soon()), ErrorCode::kDataLoss,
                    digest_.ToString());
  FLOE_EXPECT_ERROR(client().GetBlob(repository_, digest_, 99999, Soon()),
                    ErrorCode::kResourceExhausted, "99999");
}

TEST_F(ControlPlaneTest, HasBlobAsksWithHead) {
  FLOE_ASSERT_OK_AND_ASSIGN(bool there, client().HasBlob(repository_, digest_, Soon()));
  EXPECT_TRUE(there);
  FLOE_ASSERT_OK_AND_ASSIGN(bool missing, client().HasBlob(repository_, subject_, Soon()));
  EXPECT_FALSE(missing);
  EXPECT_EQ(registry_->CountRequests("HEAD", "/blobs/"), 2);
  registry_->InjectFault(
      {.method = "HEAD", .status = 307, .headers = {{"Location", "http://192.0.2.1/"}}});
  FLOE_ASSERT_OK_AND_ASSIGN(bool elsewhere, client().HasBlob(repository_, digest_, Soon()));
  EXPECT_TRUE(elsewhere);
  registry_->InjectFault({.method = "HEAD", .status = 403});
  FLOE_EXPECT_ERROR(client().HasBlob(repository_, digest_, Soon()), ErrorCode::kPermissionDenied,
                    "");
}

// --- pushes ---

TEST_F(ControlPlaneTest, APushedBlobIsThere) {
  std::string bytes = PatternBytes(3 << 20);
  Digest digest = Digest::Of(bytes);
  FLOE_ASSERT_OK(client().PushBlob(repository_, digest, bytes, Soon()));
  EXPECT_EQ(registry_->Blob(repository_.path, digest), bytes);
  for (const auto& request : registry_->requests()) {
    EXPECT_EQ(request.Header("expect"), "");
  }
  FLOE_EXPECT_OK(client().PushBlob(repository_, Digest::Of(""), "", Soon()));
}

TEST_F(ControlPlaneTest, AFailedUploadStartsAgainFromItsBeginning) {
  registry_->InjectFault({.method = "PUT", .times = 2, .status = 502});
  FLOE_ASSERT_OK(client().PushBlob(repository_, Digest::Of("bytes"), "bytes", Soon()));
  EXPECT_EQ(registry_->CountRequests("POST", "/uploads/"), 3);
  EXPECT_EQ(registry_->Blob(repository_.path, Digest::Of("bytes")), "bytes");
}

TEST_F(ControlPlaneTest, AnUploadWhoseAnswerWasLostSucceeds) {
  registry_->InjectFault({.kind = Fault::Kind::kClose, .method = "PUT"});
  FLOE_ASSERT_OK(client().PushBlob(repository_, Digest::Of("bytes"), "bytes", Soon()));
  EXPECT_EQ(registry_->Blob(repository_.path, Digest::Of("bytes")), "bytes");
}

TEST_F(ControlPlaneTest, APushUnderAWrongDigestFails) {
  FLOE_EXPECT_ERROR(client().PushBlob(repository_, Digest::Of("a"), "b", Soon()),
                    ErrorCode::kInvalidArgument, "DIGEST_INVALID");
}

TEST_F(ControlPlaneTest, UploadsWithoutALocationFail) {
  registry_->InjectFault({.method = "POST", .status = 202});
  FLOE_EXPECT_ERROR(client().PushBlob(repository_, Digest::Of("a"), "a", Soon()),
                    ErrorCode::kUnknown, "bad Location");
}

TEST_F(ControlPlaneTest, APushedManifestIsThere) {
  FLOE_ASSERT_OK_AND_ASSIGN(
      bool subject, client().PushManifest(repository_, "v2", kManifestType, "{\"b\":2}", Soon()));
  EXPECT_FALSE(subject);
  EXPECT_EQ(registry_->ManifestBytes(repository_.path, "v2"), "{\"b\":2}");
}

TEST_F(ControlPlaneTest, TheRegistrySaysWhetherItKnowsSubjects) {
  std::string manifest = ManifestWithSubject(subject_, "application/x");
  std::string name = Digest::Of(manifest).ToString();
  FLOE_ASSERT_OK_AND_ASSIGN(
      bool known, client().PushManifest(repository_, name, kManifestType, manifest, Soon()));
  EXPECT_TRUE(known);
  registry_->SetReferrersApi(false);
  FLOE_ASSERT_OK_AND_ASSIGN(
      bool unknown, client().PushManifest(repository_, name, kManifestType, manifest, Soon()));
  EXPECT_FALSE(unknown);
}

// --- referrers ---

TEST_F(ControlPlaneTest, ReferrersComeFromTheApi) {
  FLOE_ASSERT_OK_AND_ASSIGN(auto none, Referrers());
  EXPECT_TRUE(none.empty());
  std::string manifest = ManifestWithSubject(subject_, "application/x");
  Digest digest = registry_->AddManifest(repository_.path, "", kManifestType, manifest);
  registry_->AddManifest(repository_.path, "", kManifestType,
                         ManifestWithSubject(subject_, "application/y"));
  registry_->AddManifest(repository_.path, "", kManifestType,
                         ManifestWithSubject(Digest::Of("other"), "application/x"));
  FLOE_ASSERT_OK_AND_ASSIGN(auto all, Referrers());
  EXPECT_EQ(all.size(), 2U);
  FLOE_ASSERT_OK_AND_ASSIGN(auto some, Referrers("application/x"));
  ASSERT_EQ(some.size(), 1U);
  EXPECT_EQ(some[0].digest, digest);
  EXPECT_EQ(some[0].size_bytes, manifest.size());
  EXPECT_EQ(some[0].media_type, kManifestType);
  EXPECT_EQ(registry_->CountRequests("GET", "/manifests/"), 0);
}

TEST_F(ControlPlaneTest, ReferrersComeInPages) {
  registry_->SetReferrersPageSize(2);
  for (int i = 0; i < 5; ++i) {
    registry_->AddManifest(repository_.path, "", kManifestType,
                           ManifestWithSubject(subject_, "application/x", i));
  }
  FLOE_ASSERT_OK_AND_ASSIGN(auto all, Referrers("application/x"));
  EXPECT_EQ(all.size(), 5U);
  EXPECT_EQ(registry_->CountRequests("GET", "/referrers/"), 3);
}

TEST_F(ControlPlaneTest, WithoutTheApiReferrersComeFromTheFallbackTag) {
  registry_->SetReferrersApi(false);
  FLOE_ASSERT_OK_AND_ASSIGN(auto none, Referrers());
  EXPECT_TRUE(none.empty());
  ReferrerDescriptor first{kManifestType, "application/x", Digest::Of("1"), 1};
  ReferrerDescriptor second{kManifestType, "application/y", Digest::Of("2"), 2};
  for (const auto& descriptor : {first, second, first}) {
    FLOE_ASSERT_OK(AddToFallbackTag(client(), repository_, subject_, descriptor, Soon()));
  }
  FLOE_ASSERT_OK_AND_ASSIGN(auto all, Referrers());
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].digest, first.digest);
  EXPECT_EQ(all[0].artifact_type, "application/x");
  EXPECT_EQ(all[1].size_bytes, 2U);
  FLOE_ASSERT_OK_AND_ASSIGN(auto some, Referrers("application/y"));
  EXPECT_EQ(some.size(), 1U);
  EXPECT_TRUE(registry_->ManifestBytes(repository_.path, "sha256-" + subject_.hex()).has_value());
}

TEST_F(ControlPlaneTest, AFailingReferrersApiIsAnErrorAndNoEmptyList) {
  registry_->InjectFault({.path_contains = "/referrers/", .times = Fault::kForever, .status = 500});
  FLOE_EXPECT_ERROR(Referrers(), ErrorCode::kUnavailable, "500");
  registry_->ClearFaults();
  registry_->InjectFault({.path_contains = "/referrers/", .status = 200, .body = "<html>"});
  FLOE_EXPECT_ERROR(Referrers(), ErrorCode::kDataLoss, "not an image index");
}

TEST(ReferrersTest, WhatElseStandsInTheIndexIsKept) {
  FLOE_ASSERT_OK_AND_ASSIGN(
      std::string changed,
      WithReferrer(R"({"manifests":[{"digest":"sha256:1","annotations":{"a":"b"}}],"x":1})",
                   {"t", "", Digest::Of("1"), 1}));
  EXPECT_THAT(changed, ::testing::HasSubstr(R"("annotations":{"a":"b"})"));
  EXPECT_THAT(changed, ::testing::HasSubstr(R"("x":1)"));
  EXPECT_THAT(changed, ::testing::Not(::testing::HasSubstr("artifactType")));
  FLOE_EXPECT_ERROR(WithReferrer("{}", {}), ErrorCode::kDataLoss, "not an image index");
}

TEST(ReferrersTest, EntriesThatAreNoneAreLeftOut) {
  FLOE_ASSERT_OK_AND_ASSIGN(
      auto referrers,
      ParseReferrers(R"({"manifests":[1,{},{"digest":"sha512:1","size":1},{"digest":")" +
                     Digest::Of("1").ToString() + R"(","size":-1},{"digest":")" +
                     Digest::Of("2").ToString() + R"(","size":2}]})"));
  ASSERT_EQ(referrers.size(), 1U);
  EXPECT_EQ(referrers[0].digest, Digest::Of("2"));
}

TEST(ReferrersTest, LinksToTheNextPage) {
  EXPECT_EQ(NextPage("</v2/a?last=2>; rel=\"next\""), "/v2/a?last=2");
  EXPECT_EQ(NextPage("</first>; rel=\"first\", </next>; rel=next"), "/next");
  EXPECT_EQ(NextPage("</first>; rel=\"first\""), "");
  EXPECT_EQ(NextPage("<open"), "");
  EXPECT_EQ(NextPage(""), "");
}

}  // namespace
}  // namespace floe::fetcher
