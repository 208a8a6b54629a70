#include "client/containerd_client.h"

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "containerd/services/content/v1/content.grpc.pb.h"
#include "containerd/services/images/v1/images.grpc.pb.h"
#include "containerd/services/leases/v1/leases.grpc.pb.h"
#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "tests/client/unix_server.h"
#include "tests/support/result_matchers.h"

namespace floe::client {
namespace {

namespace content_v1 = ::containerd::services::content::v1;
namespace images_v1 = ::containerd::services::images::v1;
namespace leases_v1 = ::containerd::services::leases::v1;
namespace snapshots_v1 = ::containerd::services::snapshots::v1;

using ::testing::ElementsAre;
using ::testing::Pair;

std::string Metadata(const grpc::ServerContext& context, const std::string& key) {
  const auto found = context.client_metadata().find(key);
  return found == context.client_metadata().end()
             ? ""
             : std::string(found->second.data(), found->second.size());
}

/// A content store in memory, with containerd's answers.
class FakeContent final : public content_v1::Content::Service {
 public:
  using Stream =
      grpc::ServerReaderWriter<content_v1::WriteContentResponse, content_v1::WriteContentRequest>;

  grpc::Status Write(grpc::ServerContext* context, Stream* stream) override {
    content_namespace = Metadata(*context, "containerd-namespace");
    lease = Metadata(*context, "containerd-lease");
    std::string data = shared_with_another_namespace.value_or("");
    content_v1::WriteContentRequest request;
    while (stream->Read(&request)) {
      if (blobs.contains(request.expected())) {
        return {grpc::StatusCode::ALREADY_EXISTS, "it exists"};
      }
      data += request.data();
      content_v1::WriteContentResponse response;
      response.set_action(request.action());
      response.set_offset(static_cast<int64_t>(data.size()));
      if (request.action() == content_v1::COMMIT) {
        if (Digest::Of(data).ToString() != request.expected()) {
          return {grpc::StatusCode::FAILED_PRECONDITION, "unexpected commit digest"};
        }
        blobs[request.expected()] = data;
        labels[request.expected()] = {request.labels().begin(), request.labels().end()};
      }
      stream->Write(response);
      if (request.action() == content_v1::COMMIT) {
        stream->Write(response);  // As containerd does.
        return grpc::Status::OK;
      }
    }
    return grpc::Status::OK;
  }
  grpc::Status Info(grpc::ServerContext*, const content_v1::InfoRequest* request,
                    content_v1::InfoResponse*) override {
    return blobs.contains(request->digest())
               ? grpc::Status::OK
               : grpc::Status(grpc::StatusCode::NOT_FOUND, "no such content");
  }
  grpc::Status Update(grpc::ServerContext*, const content_v1::UpdateRequest* request,
                      content_v1::UpdateResponse*) override {
    for (const std::string& path : request->update_mask().paths()) {
      const std::string key = path.substr(std::string("labels.").size());
      labels[request->info().digest()][key] = request->info().labels().at(key);
    }
    return grpc::Status::OK;
  }
  grpc::Status Abort(grpc::ServerContext*, const content_v1::AbortRequest* request,
                     google::protobuf::Empty*) override {
    aborted.push_back(request->ref());
    return grpc::Status::OK;
  }

  std::map<std::string, std::string> blobs;
  std::map<std::string, Labels> labels;
  std::vector<std::string> aborted;
  std::optional<std::string> shared_with_another_namespace;
  std::string content_namespace, lease;
};

class FakeLeases final : public leases_v1::Leases::Service {
 public:
  grpc::Status Create(grpc::ServerContext*, const leases_v1::CreateRequest* request,
                      leases_v1::CreateResponse* reply) override {
    created = *request;
    reply->mutable_lease()->set_id(request->id());
    return grpc::Status::OK;
  }
  grpc::Status Delete(grpc::ServerContext*, const leases_v1::DeleteRequest* request,
                      google::protobuf::Empty*) override {
    deleted = request->id();
    return grpc::Status::OK;
  }
  leases_v1::CreateRequest created;
  std::string deleted;
};

class FakeImages final : public images_v1::Images::Service {
 public:
  grpc::Status Create(grpc::ServerContext*, const images_v1::CreateImageRequest* request,
                      images_v1::CreateImageResponse*) override {
    if (!images.emplace(request->image().name(), request->image().target().digest()).second) {
      return {grpc::StatusCode::ALREADY_EXISTS, "image exists"};
    }
    return grpc::Status::OK;
  }
  grpc::Status Update(grpc::ServerContext*, const images_v1::UpdateImageRequest* request,
                      images_v1::UpdateImageResponse*) override {
    images[request->image().name()] = request->image().target().digest();
    return grpc::Status::OK;
  }
  std::map<std::string, std::string> images;
};

class FakeSnapshots final : public snapshots_v1::Snapshots::Service {
 public:
  grpc::Status Prepare(grpc::ServerContext*, const snapshots_v1::PrepareSnapshotRequest* request,
                       snapshots_v1::PrepareSnapshotResponse* reply) override {
    if (request->labels().contains("containerd.io/snapshot.ref")) {
      return {grpc::StatusCode::ALREADY_EXISTS, "target snapshot exists"};
    }
    auto* mount = reply->add_mounts();
    mount->set_type("bind");
    mount->set_source("/some/where");
    mount->add_options("rbind");
    mount->add_options("rw");
    return grpc::Status::OK;
  }
  grpc::Status Stat(grpc::ServerContext*, const snapshots_v1::StatSnapshotRequest* request,
                    snapshots_v1::StatSnapshotResponse*) override {
    return request->key() == "there" ? grpc::Status::OK
                                     : grpc::Status(grpc::StatusCode::NOT_FOUND, "missing");
  }
};

class ContainerdClientTest : public ::testing::Test {
 protected:
  FakeContent content_;
  FakeLeases leases_;
  FakeImages images_;
  FakeSnapshots snapshots_;
  testing::UnixServer server_{content_, leases_, images_, snapshots_};
  std::unique_ptr<ContainerdClient> client_ =
      ContainerdClient::Connect(server_.address(), "a-namespace");
};

NewContent ContentOf(const std::string& bytes, Labels labels = {}) {
  return {Digest::Of(bytes), bytes.size(), std::move(labels)};
}

ContainerdClient::Producer Produce(const std::string& bytes) {
  return
      [bytes](const ContainerdClient::Sink& sink) { return sink(std::as_bytes(std::span(bytes))); };
}

TEST_F(ContainerdClientTest, WritesContentWithLabelsInNamespaceAndLease) {
  const std::string bytes(3U << 20U, 'x');  // Several messages.
  FLOE_ASSERT_OK(client_->TakeLease(std::chrono::hours(1)));
  FLOE_ASSERT_OK(client_->WriteContent(ContentOf(bytes, {{"key", "value"}}), Produce(bytes)));
  const std::string digest = Digest::Of(bytes).ToString();
  EXPECT_EQ(content_.blobs[digest], bytes);
  EXPECT_THAT(content_.labels[digest], ElementsAre(Pair("key", "value")));
  EXPECT_EQ(content_.content_namespace, "a-namespace");
  EXPECT_EQ(content_.lease, leases_.created.id());
  FLOE_EXPECT_OK(client_->HasContent(Digest::Of(bytes)));
}

TEST_F(ContainerdClientTest, ExistingContentOnlyGetsTheLabels) {
  content_.blobs[Digest::Of("abc").ToString()] = "abc";
  content_.labels[Digest::Of("abc").ToString()] = {{"old", "1"}};
  FLOE_ASSERT_OK(client_->WriteContent(ContentOf("abc", {{"new", "2"}}), Produce("abc")));
  EXPECT_THAT(content_.labels[Digest::Of("abc").ToString()],
              ElementsAre(Pair("new", "2"), Pair("old", "1")));
  EXPECT_TRUE(content_.aborted.empty());
}

TEST_F(ContainerdClientTest, SharedContentIsCommittedWithoutSendingIt) {
  content_.shared_with_another_namespace = "abc";
  bool produced = false;
  FLOE_ASSERT_OK(client_->WriteContent(ContentOf("abc"), [&](const ContainerdClient::Sink&) {
    produced = true;
    return Ok();
  }));
  EXPECT_FALSE(produced);
  EXPECT_EQ(content_.blobs[Digest::Of("abc").ToString()], "abc");
}

TEST_F(ContainerdClientTest, WrongBytesAreRefusedAndTheIngestAborted) {
  const auto result = client_->WriteContent(ContentOf("abc"), Produce("abd"));
  FLOE_EXPECT_ERROR(result, ErrorCode::kFailedPrecondition, "unexpected commit digest");
  EXPECT_EQ(content_.aborted.size(), 1U);
  FLOE_ASSERT_OK_AND_ASSIGN(const bool exists, client_->HasContent(Digest::Of("abc")));
  EXPECT_FALSE(exists);
}

TEST_F(ContainerdClientTest, AFailedProducerAbortsAndItsErrorComesBack) {
  const auto result =
      client_->WriteContent(ContentOf("abc"), [](const ContainerdClient::Sink& sink) {
        (void)sink(std::as_bytes(std::span("a", 1)));
        return Result<void>(DataLoss("the registry lied"));
      });
  FLOE_EXPECT_ERROR(result, ErrorCode::kDataLoss, "the registry lied");
  EXPECT_EQ(content_.aborted.size(), 1U);
  EXPECT_TRUE(content_.blobs.empty());
}

TEST_F(ContainerdClientTest, ALeaseExpiresByItselfAndIsReleased) {
  FLOE_ASSERT_OK(client_->TakeLease(std::chrono::hours(1)));
  EXPECT_THAT(leases_.created.labels().at("containerd.io/gc.expire"),
              ::testing::MatchesRegex("....-..-..T..:..:..Z"));
  FLOE_ASSERT_OK(client_->ReleaseLease());
  EXPECT_EQ(leases_.deleted, leases_.created.id());
  FLOE_ASSERT_OK(client_->WriteContent(ContentOf("abc"), Produce("abc")));
  EXPECT_EQ(content_.lease, "");
}

TEST_F(ContainerdClientTest, AnExistingImageRecordIsPointedToTheNewTarget) {
  image::Descriptor target;
  target.digest = Digest::Of("one");
  FLOE_ASSERT_OK(client_->PutImage("registry/app:1", target));
  target.digest = Digest::Of("two");
  FLOE_ASSERT_OK(client_->PutImage("registry/app:1", target));
  EXPECT_THAT(images_.images, ElementsAre(Pair("registry/app:1", Digest::Of("two").ToString())));
}

TEST_F(ContainerdClientTest, PrepareTellsALazyLayerFromOneToUnpack) {
  FLOE_EXPECT_ERROR(
      client_->PrepareSnapshot("floe", "key", "", {{"containerd.io/snapshot.ref", "c"}}),
      ErrorCode::kAlreadyExists, "target snapshot exists");
  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, client_->PrepareSnapshot("floe", "key", "", {}));
  ASSERT_EQ(mounts.size(), 1U);
  EXPECT_EQ(mounts[0].type, "bind");
  EXPECT_EQ(mounts[0].source, "/some/where");
  EXPECT_THAT(mounts[0].options, ElementsAre("rbind", "rw"));
}

TEST_F(ContainerdClientTest, HasSnapshotIsFalseOnlyForNotFound) {
  FLOE_ASSERT_OK_AND_ASSIGN(const bool there, client_->HasSnapshot("floe", "there"));
  EXPECT_TRUE(there);
  FLOE_ASSERT_OK_AND_ASSIGN(const bool missing, client_->HasSnapshot("floe", "missing"));
  EXPECT_FALSE(missing);
  // This fake serves no Diff service.
  FLOE_EXPECT_ERROR(client_->ApplyLayer({}, {}), ErrorCode::kUnimplemented, "");
}

}  // namespace
}  // namespace floe::client
