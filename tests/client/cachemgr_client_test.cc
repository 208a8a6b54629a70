#include "client/cachemgr_client.h"

#include <functional>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "floe/cachemgr/v1/cachemgr.grpc.pb.h"
#include "tests/client/unix_server.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::client {
namespace {

namespace v1 = cachemgr::v1;

/// Remembers the last request and answers with `status`.
class FakeCacheManager final : public v1::CacheManager::Service {
 public:
  grpc::Status Mount(grpc::ServerContext*, const v1::MountRequest* request,
                     v1::MountReply* reply) override {
    mount = *request;
    reply->set_channel("fuse");
    return status;
  }
  grpc::Status Unmount(grpc::ServerContext*, const v1::UnmountRequest* request,
                       v1::UnmountReply*) override {
    unmount = *request;
    return status;
  }
  grpc::Status Status(grpc::ServerContext*, const v1::StatusRequest*,
                      v1::StatusReply* reply) override {
    reply->set_version("1.2.3");
    return status;
  }

  grpc::Status StreamLayer(grpc::ServerContext* context, const v1::StreamLayerRequest* request,
                           grpc::ServerWriter<v1::StreamLayerReply>* writer) override {
    stream = *request;
    for (const v1::StreamLayerReply& reply : replies) {
      writer->Write(reply);
    }
    while (hangs && !context->IsCancelled()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return status;
  }
  void Reply(const std::function<void(v1::StreamLayerReply&)>& fill) {
    fill(replies.emplace_back());
  }

  v1::MountRequest mount;
  v1::UnmountRequest unmount;
  v1::StreamLayerRequest stream;
  std::vector<v1::StreamLayerReply> replies;
  bool hangs = false;
  grpc::Status status;
};

prepare::MountPlan PlanWithTwoDevices() {
  prepare::MountPlan plan;
  plan.bootstrap = "/plan/bootstrap";
  plan.bootstrap_digest = Digest::Of("bootstrap");
  plan.devices = {{"aa", "/plan/aa", {{"one.example:5000", "team/app"}, {"two.example", "app"}}},
                  {"bb", "/plan/bb", {}, "/plan/bb.windows", {{7, 2}, {0, 1}}}};
  plan.layers = {{"sha256:11", "soci", "bound", ""}, {"sha256:22", "stream", "local", "no index"}};
  return plan;
}

TEST(CachemgrClientTest, MountCarriesThePlanInSlotOrder) {
  FakeCacheManager service;
  testing::UnixServer server(service);
  auto client = CachemgrClient::Connect(server.address());
  FLOE_ASSERT_OK_AND_ASSIGN(const auto reply,
                            client->Mount("image-1", PlanWithTwoDevices(), "/target", true));
  EXPECT_EQ(reply.channel(), "fuse");
  EXPECT_EQ(service.mount.id(), "image-1");
  EXPECT_EQ(service.mount.target(), "/target");
  EXPECT_EQ(service.mount.bootstrap_path(), "/plan/bootstrap");
  EXPECT_EQ(service.mount.bootstrap_digest(), Digest::Of("bootstrap").ToString());
  ASSERT_EQ(service.mount.devices_size(), 2);
  EXPECT_EQ(service.mount.devices(0).key(), "aa");
  EXPECT_EQ(service.mount.devices(0).blob_map_path(), "/plan/aa");
  ASSERT_EQ(service.mount.devices(0).sources_size(), 2);
  EXPECT_EQ(service.mount.devices(0).sources(0).registry(), "one.example:5000");
  EXPECT_EQ(service.mount.devices(0).sources(0).repository(), "team/app");
  EXPECT_TRUE(service.mount.devices(0).sources(0).plain_http());
  EXPECT_EQ(service.mount.devices(1).key(), "bb");
}

TEST(CachemgrClientTest, MountCarriesWindowsPrefetchAndNotes) {
  FakeCacheManager service;
  testing::UnixServer server(service);
  FLOE_ASSERT_OK(CachemgrClient::Connect(server.address())
                     ->Mount("image-1", PlanWithTwoDevices(), "/target", true));
  EXPECT_EQ(service.mount.devices(0).windows_path(), "");
  EXPECT_EQ(service.mount.devices(0).prefetch_size(), 0);
  EXPECT_EQ(service.mount.devices(1).windows_path(), "/plan/bb.windows");
  ASSERT_EQ(service.mount.devices(1).prefetch_size(), 2);
  EXPECT_EQ(service.mount.devices(1).prefetch(0).first_unit(), 7U);
  EXPECT_EQ(service.mount.devices(1).prefetch(0).unit_count(), 2U);
  ASSERT_EQ(service.mount.layers_size(), 2);
  EXPECT_EQ(service.mount.layers(0).reader(), "soci");
  EXPECT_EQ(service.mount.layers(0).origin(), "bound");
  EXPECT_EQ(service.mount.layers(1).digest(), "sha256:22");
  EXPECT_EQ(service.mount.layers(1).why_not(), "no index");
}

TEST(CachemgrClientTest, UnmountCarriesIdAndDetach) {
  FakeCacheManager service;
  testing::UnixServer server(service);
  FLOE_ASSERT_OK(CachemgrClient::Connect(server.address())->Unmount("image-1", true));
  EXPECT_EQ(service.unmount.id(), "image-1");
  EXPECT_TRUE(service.unmount.detach());
}

TEST(CachemgrClientTest, ErrorsKeepTheirCodeAndNameThePeer) {
  FakeCacheManager service;
  service.status =
      grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "no channel is\nusable here");
  testing::UnixServer server(service);
  const auto result = CachemgrClient::Connect(server.address())->Unmount("x", false);
  FLOE_EXPECT_ERROR(result, ErrorCode::kFailedPrecondition, "no channel is usable here");
  EXPECT_THAT(result.error().message, ::testing::HasSubstr(server.address()));
}

StreamLayerCall SampleCall() {
  return {.digest = Digest::Of("layer"),
          .size_bytes = 5,
          .media_type = "type",
          .diff_id = Digest::Of("archive"),
          .sources = {{"one.example:5000", "team/app"}, {"two.example", "app"}},
          .plain_http = true};
}

TEST(CachemgrClientTest, StreamLayerPutsThePartsTogether) {
  FakeCacheManager service;
  service.Reply([](auto& reply) { reply.set_bytes_done(3); });
  service.Reply([](auto& reply) { reply.set_tree_part("tr"); });
  service.Reply([](auto& reply) { reply.set_tree_part("ee"); });
  service.Reply([](auto& reply) { reply.set_windows_part("win"); });
  service.Reply([](auto& reply) { reply.set_windows_part("dows"); });
  service.Reply([](auto& reply) { reply.mutable_done()->set_device_key("key"); });
  testing::UnixServer server(service);
  std::vector<uint64_t> progress;
  const auto client = CachemgrClient::Connect(server.address());
  FLOE_ASSERT_OK_AND_ASSIGN(
      const StreamedLayer layer,
      client->StreamLayer(SampleCall(), [&](uint64_t done) { progress.push_back(done); }, nullptr));
  EXPECT_EQ(layer.tree, "tree");
  EXPECT_EQ(layer.windows, "windows");
  EXPECT_EQ(layer.device_key, "key");
  EXPECT_THAT(progress, ::testing::ElementsAre(3));
  EXPECT_EQ(service.stream.digest(), Digest::Of("layer").ToString());
  EXPECT_EQ(service.stream.diff_id(), Digest::Of("archive").ToString());
  EXPECT_EQ(service.stream.size_bytes(), 5U);
  EXPECT_EQ(service.stream.media_type(), "type");
  ASSERT_EQ(service.stream.sources_size(), 2);
  EXPECT_EQ(service.stream.sources(0).registry(), "one.example:5000");
  EXPECT_EQ(service.stream.sources(1).repository(), "app");
  EXPECT_TRUE(service.stream.sources(1).plain_http());
}

TEST(CachemgrClientTest, StreamLayerKeepsTheErrorOfTheCacheManager) {
  FakeCacheManager service;
  service.Reply([](auto& reply) { reply.set_bytes_done(3); });
  service.status = grpc::Status(grpc::StatusCode::DATA_LOSS, "its bytes have another digest");
  testing::UnixServer server(service);
  const auto client = CachemgrClient::Connect(server.address());
  FLOE_EXPECT_ERROR(client->StreamLayer(SampleCall(), {}, nullptr), ErrorCode::kDataLoss,
                    "its bytes have another digest");
}

TEST(CachemgrClientTest, StreamLayerIsNotDoneBeforeItSaysSo) {
  FakeCacheManager service;
  service.Reply([](auto& reply) { reply.set_tree_part("tree"); });
  testing::UnixServer server(service);
  const auto client = CachemgrClient::Connect(server.address());
  FLOE_EXPECT_ERROR(client->StreamLayer(SampleCall(), {}, nullptr), ErrorCode::kDataLoss,
                    "before the layer is done");
}

TEST(CachemgrClientTest, StreamLayerIsCancelledWhileNothingComes) {
  FakeCacheManager service;
  service.hangs = true;
  service.Reply([](auto& reply) { reply.set_bytes_done(3); });
  testing::UnixServer server(service);
  const auto client = CachemgrClient::Connect(server.address());
  std::atomic<bool> cancel = false;
  FLOE_EXPECT_ERROR(client->StreamLayer(
                        SampleCall(), [&](uint64_t) { cancel = true; }, &cancel),
                    ErrorCode::kCancelled, "gave up");
}

TEST(CachemgrClientTest, StreamLayerWithoutADaemon) {
  testing::TempDir directory;
  const auto client = CachemgrClient::Connect((directory / "socket").native());
  FLOE_EXPECT_ERROR(client->StreamLayer(SampleCall(), {}, nullptr), ErrorCode::kUnavailable,
                    "nobody answers");
}

TEST(CachemgrClientTest, UnavailableInOneLineWhenNobodyAnswers) {
  testing::TempDir directory;
  const auto result = CachemgrClient::Connect((directory / "socket").native())->Status();
  FLOE_EXPECT_ERROR(result, ErrorCode::kUnavailable, "nobody answers: cache manager at ");
  EXPECT_THAT(result.error().message, ::testing::Not(::testing::HasSubstr("\n")));
}

TEST(CachemgrClientTest, FindsADaemonThatStartsLater) {
  testing::TempDir directory;
  const std::string address = (directory / "socket").native();
  auto client = CachemgrClient::Connect(address);
  ASSERT_FALSE(client->Status().has_value());
  FakeCacheManager service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + address, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  Result<v1::StatusReply> reply = client->Status();
  while (!reply.has_value() && std::chrono::steady_clock::now() < deadline) {
    reply = client->Status();
  }
  FLOE_ASSERT_OK(reply);
  EXPECT_EQ(reply->version(), "1.2.3");
  server->Shutdown();
}

}  // namespace
}  // namespace floe::client
