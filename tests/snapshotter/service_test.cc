#include <array>

#include <grpcpp/create_channel.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "snapshotter/service/snapshots_service.h"
#include "snapshotter/service/status.h"
#include "tests/snapshotter/snapshotter_fixture.h"

namespace floe::snapshotter {
namespace {

namespace v1 = containerd::services::snapshots::v1;
using grpc::StatusCode;

/// The service as containerd's proxy client sees it.
class SnapshotsServiceTest : public testing::SnapshotterFixture {
 protected:
  void SetUp() override {
    SnapshotterFixture::SetUp();
    if (IsSkipped()) {
      return;
    }
    service_ = MakeSnapshotsService(*snapshots_);
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = v1::Snapshots::NewStub(server_->InProcessChannel({}));
  }
  void TearDown() override {
    if (server_ != nullptr) {
      server_->Shutdown();
    }
  }

  template <typename Response, typename Method, typename Request>
  grpc::Status Call(Method method, const Request& request, Response& response) {
    grpc::ClientContext context;
    return ((*stub_).*method)(&context, request, &response);
  }

  StatusCode Prepare(const std::string& key, const std::string& parent) {
    v1::PrepareSnapshotRequest request;
    request.set_key(key);
    request.set_parent(parent);
    prepared_.Clear();
    return Call(&v1::Snapshots::Stub::Prepare, request, prepared_).error_code();
  }
  StatusCode View(const std::string& key, const std::string& parent) {
    v1::ViewSnapshotRequest request;
    request.set_key(key);
    request.set_parent(parent);
    v1::ViewSnapshotResponse response;
    return Call(&v1::Snapshots::Stub::View, request, response).error_code();
  }
  StatusCode Mounts(const std::string& key) {
    v1::MountsRequest request;
    request.set_key(key);
    v1::MountsResponse response;
    return Call(&v1::Snapshots::Stub::Mounts, request, response).error_code();
  }
  StatusCode Commit(const std::string& name, const std::string& key,
                    const std::string& parent = "") {
    v1::CommitSnapshotRequest request;
    request.set_name(name);
    request.set_key(key);
    request.set_parent(parent);
    google::protobuf::Empty response;
    return Call(&v1::Snapshots::Stub::Commit, request, response).error_code();
  }
  grpc::Status Remove(const std::string& key) {
    v1::RemoveSnapshotRequest request;
    request.set_key(key);
    google::protobuf::Empty response;
    return Call(&v1::Snapshots::Stub::Remove, request, response);
  }
  StatusCode Update(const std::string& name, const std::string& path) {
    v1::UpdateSnapshotRequest request;
    request.mutable_info()->set_name(name);
    (*request.mutable_info()->mutable_labels())["a"] = "b";
    request.mutable_update_mask()->add_paths(path);
    updated_.Clear();
    return Call(&v1::Snapshots::Stub::Update, request, updated_).error_code();
  }
  grpc::Status List(const std::vector<std::string>& filters) {
    v1::ListSnapshotsRequest request;
    request.mutable_filters()->Assign(filters.begin(), filters.end());
    grpc::ClientContext context;
    const auto reader = stub_->List(&context, request);
    listed_.clear();
    for (v1::ListSnapshotsResponse message; reader->Read(&message); message.Clear()) {
      listed_.push_back(message);
    }
    return reader->Finish();
  }

  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::Snapshots::Stub> stub_;
  v1::PrepareSnapshotResponse prepared_;
  v1::UpdateSnapshotResponse updated_;
  std::vector<v1::ListSnapshotsResponse> listed_;
};

TEST_F(SnapshotsServiceTest, PrepareAndViewAnswerWithContainerdsCodes) {
  EXPECT_EQ(Prepare("a", ""), StatusCode::OK);
  EXPECT_EQ(Prepare("a", ""), StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(View("a", ""), StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Prepare("b", "none"), StatusCode::NOT_FOUND);
  EXPECT_EQ(View("b", "none"), StatusCode::NOT_FOUND);
  EXPECT_EQ(Prepare("b", "a"), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(View("b", "a"), StatusCode::INVALID_ARGUMENT);
}

TEST_F(SnapshotsServiceTest, CommitAnswersWithContainerdsCodes) {
  ASSERT_EQ(Prepare("a", ""), StatusCode::OK);
  ASSERT_EQ(Commit("c", "a"), StatusCode::OK);
  EXPECT_EQ(Commit("d", "a"), StatusCode::NOT_FOUND);
  ASSERT_EQ(View("v", "c"), StatusCode::OK);
  EXPECT_EQ(Commit("d", "v"), StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Commit("d", "c"), StatusCode::FAILED_PRECONDITION);
  ASSERT_EQ(Prepare("b", "c"), StatusCode::OK);
  EXPECT_EQ(Commit("c", "b"), StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Commit("d", "b", "v"), StatusCode::INVALID_ARGUMENT);
  ASSERT_EQ(Prepare("p", ""), StatusCode::OK);
  EXPECT_EQ(Commit("d", "p", "none"), StatusCode::NOT_FOUND);
  EXPECT_EQ(Commit("d", "p", "v"), StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Commit("d", "p", "c"), StatusCode::OK);
}

TEST_F(SnapshotsServiceTest, RemoveSaysThatItCannotRemoveAParent) {
  ASSERT_EQ(Prepare("a", ""), StatusCode::OK);
  ASSERT_EQ(Commit("c", "a"), StatusCode::OK);
  ASSERT_EQ(View("v", "c"), StatusCode::OK);
  const grpc::Status refused = Remove("c");
  EXPECT_EQ(refused.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error_message(), ::testing::HasSubstr("remove"));
  EXPECT_TRUE(Remove("v").ok());
  EXPECT_TRUE(Remove("c").ok());
  EXPECT_EQ(Remove("c").error_code(), StatusCode::NOT_FOUND);
}

TEST_F(SnapshotsServiceTest, MountsAnswersWithContainerdsCodes) {
  ASSERT_EQ(Prepare("a", ""), StatusCode::OK);
  EXPECT_EQ(Mounts("a"), StatusCode::OK);
  ASSERT_EQ(Commit("c", "a"), StatusCode::OK);
  EXPECT_EQ(Mounts("c"), StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Mounts("a"), StatusCode::NOT_FOUND);
}

TEST_F(SnapshotsServiceTest, PrepareSendsTheWholeMount) {
  ASSERT_EQ(Prepare("a", ""), StatusCode::OK);
  ASSERT_EQ(prepared_.mounts_size(), 1);
  EXPECT_EQ(prepared_.mounts(0).type(), "bind");
  EXPECT_EQ(prepared_.mounts(0).source(), layout_.upper(1).native());
  EXPECT_THAT(prepared_.mounts(0).options(), ::testing::ElementsAre("rw", "rbind"));
}

TEST_F(SnapshotsServiceTest, StatShowsKindsTimesAndLabels) {
  v1::PrepareSnapshotRequest prepare;
  prepare.set_key("a");
  (*prepare.mutable_labels())["k"] = "v";
  v1::PrepareSnapshotResponse prepared;
  ASSERT_TRUE(Call(&v1::Snapshots::Stub::Prepare, prepare, prepared).ok());
  ASSERT_EQ(View("v", ""), StatusCode::OK);
  v1::StatSnapshotRequest request;
  request.set_key("a");
  v1::StatSnapshotResponse response;
  ASSERT_TRUE(Call(&v1::Snapshots::Stub::Stat, request, response).ok());
  EXPECT_EQ(response.info().name(), "a");
  EXPECT_EQ(response.info().kind(), v1::ACTIVE);
  EXPECT_EQ(response.info().labels().at("k"), "v");
  EXPECT_EQ(response.info().created_at().seconds(),
            std::chrono::system_clock::to_time_t(clock_.WallNow()));
  request.set_key("v");
  ASSERT_TRUE(Call(&v1::Snapshots::Stub::Stat, request, response).ok());
  EXPECT_EQ(response.info().kind(), v1::VIEW);
  request.set_key("none");
  EXPECT_EQ(Call(&v1::Snapshots::Stub::Stat, request, response).error_code(),
            StatusCode::NOT_FOUND);
}

TEST_F(SnapshotsServiceTest, UpdateChangesLabelsOnly) {
  ASSERT_EQ(Prepare("a", ""), StatusCode::OK);
  EXPECT_EQ(Update("a", "labels.a"), StatusCode::OK);
  EXPECT_EQ(updated_.info().labels().at("a"), "b");
  EXPECT_EQ(Update("a", "parent"), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Update("none", "labels"), StatusCode::NOT_FOUND);
}

TEST_F(SnapshotsServiceTest, UsageHasSizeAndInodes) {
  ASSERT_EQ(Prepare("a", ""), StatusCode::OK);
  v1::UsageRequest request;
  request.set_key("a");
  v1::UsageResponse response;
  ASSERT_TRUE(Call(&v1::Snapshots::Stub::Usage, request, response).ok());
  EXPECT_EQ(response.inodes(), 1);
  EXPECT_GT(response.size(), 0);
}

TEST_F(SnapshotsServiceTest, ListSendsAtMostAHundredAMessage) {
  for (int i = 0; i < 250; ++i) {
    ASSERT_EQ(Prepare("key " + std::to_string(i), ""), StatusCode::OK);
  }
  ASSERT_TRUE(List({}).ok());
  ASSERT_EQ(listed_.size(), 3U);
  EXPECT_EQ(listed_[0].info_size(), 100);
  EXPECT_EQ(listed_[2].info_size(), 50);
  EXPECT_EQ(listed_[2].info(49).name(), "key 249");
}

TEST_F(SnapshotsServiceTest, ListTakesFilters) {
  ASSERT_EQ(Prepare("a", ""), StatusCode::OK);
  ASSERT_EQ(View("v", ""), StatusCode::OK);
  ASSERT_TRUE(List({"kind==view"}).ok());
  ASSERT_EQ(listed_.size(), 1U);
  EXPECT_EQ(listed_[0].info(0).name(), "v");
  EXPECT_EQ(List({"name=="}).error_code(), StatusCode::INVALID_ARGUMENT);
  ASSERT_TRUE(List({"name==none"}).ok());
  EXPECT_TRUE(listed_.empty());
}

TEST_F(SnapshotsServiceTest, OtherCallsGoOnWhileAListIsRead) {
  for (int i = 0; i < 150; ++i) {
    ASSERT_EQ(Prepare("key " + std::to_string(i), ""), StatusCode::OK);
  }
  grpc::ClientContext context;
  const auto reader = stub_->List(&context, v1::ListSnapshotsRequest());
  v1::ListSnapshotsResponse message;
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(Prepare("meanwhile", ""), StatusCode::OK);
  EXPECT_TRUE(Remove("key 149").ok());
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(message.info_size(), 50) << "the answer is as of one moment";
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(SnapshotsServiceTest, CleanupIsImplemented) {
  google::protobuf::Empty response;
  EXPECT_TRUE(Call(&v1::Snapshots::Stub::Cleanup, v1::CleanupRequest(), response).ok());
}

struct CodePair {
  ErrorCode error;
  StatusCode status;
};

// clang-format off
constexpr std::array kCodes = {
    CodePair{ErrorCode::kCancelled, StatusCode::CANCELLED},
    CodePair{ErrorCode::kUnknown, StatusCode::UNKNOWN},
    CodePair{ErrorCode::kInvalidArgument, StatusCode::INVALID_ARGUMENT},
    CodePair{ErrorCode::kDeadlineExceeded, StatusCode::DEADLINE_EXCEEDED},
    CodePair{ErrorCode::kNotFound, StatusCode::NOT_FOUND},
    CodePair{ErrorCode::kAlreadyExists, StatusCode::ALREADY_EXISTS},
    CodePair{ErrorCode::kPermissionDenied, StatusCode::PERMISSION_DENIED},
    CodePair{ErrorCode::kResourceExhausted, StatusCode::RESOURCE_EXHAUSTED},
    CodePair{ErrorCode::kFailedPrecondition, StatusCode::FAILED_PRECONDITION},
    CodePair{ErrorCode::kAborted, StatusCode::ABORTED},
    CodePair{ErrorCode::kOutOfRange, StatusCode::OUT_OF_RANGE},
    CodePair{ErrorCode::kUnimplemented, StatusCode::UNIMPLEMENTED},
    CodePair{ErrorCode::kInternal, StatusCode::INTERNAL},
    CodePair{ErrorCode::kUnavailable, StatusCode::UNAVAILABLE},
    CodePair{ErrorCode::kDataLoss, StatusCode::DATA_LOSS},
    CodePair{ErrorCode::kUnauthenticated, StatusCode::UNAUTHENTICATED},
};
// clang-format on

TEST(StatusTest, EveryErrorHasItsCode) {
  for (const CodePair& pair : kCodes) {
    const grpc::Status status = ToStatus(Error{pair.error, "why"});
    EXPECT_EQ(status.error_code(), pair.status) << ErrorCodeName(pair.error);
    EXPECT_EQ(status.error_message(), "why");
  }
}

}  // namespace
}  // namespace floe::snapshotter
