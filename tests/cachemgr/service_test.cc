// The RPCs over a real socket.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "cachemgr/service/cachemgr_service.h"
#include "cachemgr/service/grpc_status.h"
#include "cachemgr/service/socket_server.h"
#include "tests/cachemgr/kernel_fixture.h"

namespace floe::cachemgr::testing {
namespace {

using ::testing::HasSubstr;

TEST(GrpcStatusTest, EveryCodeAndMessageGoesThrough) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status = ToGrpcStatus(Error{static_cast<ErrorCode>(code), "why"});
    EXPECT_EQ(static_cast<int>(status.error_code()), code);
    EXPECT_EQ(status.error_message(), "why");
  }
  EXPECT_TRUE(ToGrpcStatus(Ok()).ok());
}

class ServiceTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) {
      return;
    }
    StartManager();
    service_ = std::make_unique<CachemgrService>(*manager_);
    auto server = ServeOnSocket(socket(), *service_);
    FLOE_ASSERT_OK(server);
    server_ = std::move(*server);
    stub_ = v1::CacheManager::NewStub(
        grpc::CreateChannel("unix:" + socket().native(), grpc::InsecureChannelCredentials()));
  }
  void TearDown() override {
    if (server_ != nullptr) {
      server_->Shutdown();
    }
    server_.reset();
    KernelTest::TearDown();
  }
  [[nodiscard]] std::filesystem::path socket() const { return directory_ / "run" / "sock"; }
  [[nodiscard]] v1::MountRequest Message() const {
    v1::MountRequest message;
    message.set_id("image");
    message.set_bootstrap_path(directory_ / "bootstrap");
    message.set_bootstrap_digest(Digest::Of(blob_.Bootstrap()).ToString());
    message.set_target(target());
    v1::Device& device = *message.add_devices();
    device.set_key(blob_.key);
    device.set_blob_map_path(directory_ / "map");
    v1::Source& source = *device.add_sources();
    source.set_registry("registry");
    source.set_repository("app");
    return message;
  }

  std::unique_ptr<CachemgrService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::CacheManager::Stub> stub_;
};

TEST_F(ServiceTest, MountReadStatusUnmount) {
  if (auto can = CanUseChannel("auto"); !can) {
    GTEST_SKIP() << can.error().message;
  }
  grpc::ClientContext mount_context;
  v1::MountReply mounted;
  const grpc::Status status = stub_->Mount(&mount_context, Message(), &mounted);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_THAT(mounted.channel(), HasSubstr("fuse"));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadMounted(3));
  EXPECT_EQ(bytes, Expected(3));

  grpc::ClientContext status_context;
  v1::StatusReply reply;
  ASSERT_TRUE(stub_->Status(&status_context, {}, &reply).ok());
  EXPECT_EQ(reply.channel(), "auto");
  EXPECT_EQ(reply.root(), manager_->root().native());
  ASSERT_EQ(reply.mounts_size(), 1);
  EXPECT_TRUE(reply.mounts(0).live());
  EXPECT_EQ(reply.mounts(0).keys(0), blob_.key);
  ASSERT_EQ(reply.blobs_size(), 1);
  EXPECT_EQ(reply.blobs(0).blob_digest(), blob_.digest.ToString());
  EXPECT_EQ(reply.blobs(0).device_bytes(), blob_.device.size());
  EXPECT_EQ(reply.blobs(0).blob_bytes(), blob_.blob.size());
  EXPECT_GE(reply.blobs(0).present_bytes(), bytes.size());
  EXPECT_GT(reply.blobs(0).disk_bytes(), 0U);
  EXPECT_EQ(reply.blobs(0).mounts(), 1U);
  EXPECT_GT(reply.blobs(0).fetched_bytes(), 0U);
  // Read-ahead goes on between the two counts: the blobs are looked at first.
  EXPECT_LE(reply.blobs(0).fetched_bytes(), reply.counters().fetched_bytes());
  EXPECT_GT(reply.counters().registry_requests(), 0U);
  EXPECT_GT(reply.counters().reads_filled(), 0U);

  grpc::ClientContext unmount_context;
  v1::UnmountRequest unmount;
  unmount.set_id("image");
  v1::UnmountReply unmounted;
  EXPECT_TRUE(stub_->Unmount(&unmount_context, unmount, &unmounted).ok());
}

TEST_F(ServiceTest, NotesOnLayersComeBackInTheStatus) {
  if (auto can = CanUseChannel("auto"); !can) {
    GTEST_SKIP() << can.error().message;
  }
  v1::MountRequest message = Message();
  v1::LayerNote& note = *message.add_layers();
  note.set_digest("sha256:11");
  note.set_reader("stream");
  note.set_origin("local");
  note.set_why_not("no index");
  grpc::ClientContext mount_context;
  v1::MountReply mounted;
  ASSERT_TRUE(stub_->Mount(&mount_context, message, &mounted).ok());
  grpc::ClientContext status_context;
  v1::StatusReply reply;
  ASSERT_TRUE(stub_->Status(&status_context, {}, &reply).ok());
  ASSERT_EQ(reply.mounts_size(), 1);
  ASSERT_EQ(reply.mounts(0).layers_size(), 1);
  EXPECT_EQ(reply.mounts(0).layers(0).SerializeAsString(), note.SerializeAsString());
}

TEST_F(ServiceTest, FaultsOfRegistriesAreReportedByKindAndIntegrityApart) {
  if (auto can = CanUseChannel("auto"); !can) {
    GTEST_SKIP() << can.error().message;
  }
  grpc::ClientContext mount_context;
  v1::MountReply mounted;
  ASSERT_TRUE(stub_->Mount(&mount_context, Message(), &mounted).ok());
  client_->SetScript(
      [](const FakeRegistryClient::Request& request) -> std::optional<Result<std::string>> {
        request.on_retry(WithFault(Unavailable("503"), FaultKind::kServerError));
        return Result<std::string>(std::string(request.range.length, 'x'));
      });
  EXPECT_FALSE(ReadMounted(3).has_value());

  grpc::ClientContext status_context;
  v1::StatusReply reply;
  ASSERT_TRUE(stub_->Status(&status_context, {}, &reply).ok());
  const v1::Counters& counters = reply.counters();
  ASSERT_EQ(counters.network_faults_size(), 1);
  const v1::FaultCount& refused = counters.network_faults().at("server_error");
  EXPECT_GT(refused.all(), 0U);
  EXPECT_EQ(refused.retried(), refused.all());
  ASSERT_EQ(counters.integrity_faults_size(), 1);
  const v1::FaultCount& wrong = counters.integrity_faults().at("wrong_bytes");
  EXPECT_GT(wrong.retried(), 0U);
  EXPECT_LT(wrong.retried(), wrong.all());
  EXPECT_EQ(counters.integrity_errors(), wrong.all());
}

TEST_F(ServiceTest, BadRequestsHaveTheRightCode) {
  v1::MountRequest message = Message();
  message.set_bootstrap_digest("md5:0");
  grpc::ClientContext context;
  v1::MountReply reply;
  EXPECT_EQ(stub_->Mount(&context, message, &reply).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServiceTest, ProbeListsEveryChannel) {
  grpc::ClientContext context;
  v1::ProbeReply reply;
  ASSERT_TRUE(stub_->Probe(&context, {}, &reply).ok());
  std::vector<std::string> names;
  for (const v1::ChannelProbe& probe : reply.channels()) {
    names.push_back(probe.name());
    EXPECT_EQ(probe.usable(), probe.detail().empty());
  }
  EXPECT_THAT(names, ::testing::ElementsAre("none", "none-loop", "fuse", "fuse-loop", "fanotify",
                                            "cachefiles"));
}

TEST_F(ServiceTest, OnlyTheOwnerMayConnect) {
  struct stat status{};
  ASSERT_EQ(::stat(socket().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0600U);
}

TEST_F(ServiceTest, ASocketInUseIsLeftAlone) {
  CachemgrService other(*manager_);
  FLOE_EXPECT_ERROR(ServeOnSocket(socket(), other), ErrorCode::kFailedPrecondition,
                    "another process answers");
}

TEST_F(ServiceTest, AStaleSocketIsReplacedAndAFileIsNot) {
  const std::filesystem::path stale = directory_ / "stale";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  stale.native().copy(address.sun_path, sizeof(address.sun_path) - 1);
  {
    const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }
  CachemgrService other(*manager_);
  auto server = ServeOnSocket(stale, other);
  FLOE_ASSERT_OK(server);
  (*server)->Shutdown();
  FLOE_ASSERT_OK(WriteFileAtomically(directory_ / "file", "x"));
  FLOE_EXPECT_ERROR(ServeOnSocket(directory_ / "file", other), ErrorCode::kFailedPrecondition,
                    "not a socket");
}

}  // namespace
}  // namespace floe::cachemgr::testing
