// StreamLayer over a real socket: a registry that speaks HTTP, the manager, gRPC and the client.
#include <atomic>
#include <thread>

#include "cachemgr/service/cachemgr_service.h"
#include "cachemgr/service/socket_server.h"
#include "client/cachemgr_client.h"
#include "image/blob_map.h"
#include "image/index_codec.h"
#include "tests/cachemgr/test_blob.h"
#include "tests/image/gzip_support.h"
#include "tests/image/layer_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/fake_registry.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::cachemgr::testing {
namespace {

using floe::testing::Fault;

class StreamServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto manager = Manager::Create(
        {.root = directory_ / "root",
         .keeper_address = "none",
         .checkpoint_interval = std::chrono::milliseconds(20)},
        [](const std::string&) {
          return fetcher::RegistryClient::Create({.retry_delay = std::chrono::milliseconds(1)});
        },
        Clock::Real());
    if (!manager && manager.error().code == ErrorCode::kFailedPrecondition) {
      GTEST_SKIP() << manager.error().message;
    }
    FLOE_ASSERT_OK(manager);
    manager_ = std::move(*manager);
    service_ = std::make_unique<CachemgrService>(*manager_);
    auto server = ServeOnSocket(directory_ / "sock", *service_);
    FLOE_ASSERT_OK(server);
    server_ = std::move(*server);
    client_ = client::CachemgrClient::Connect((directory_ / "sock").native());
  }
  void TearDown() override {
    if (server_ != nullptr) {
      server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
    }
  }
  client::StreamLayerCall Call(const std::string& blob) {
    registry_.AddBlob("app", blob);
    return {.digest = Digest::Of(blob),
            .size_bytes = blob.size(),
            .media_type = "application/vnd.oci.image.layer.v1.tar+gzip",
            .diff_id = {},
            .sources = {{registry_.host(), "app"}},
            .plain_http = true};
  }
  static std::string Layer(int files) {
    image::TarArchive archive;
    for (int i = 0; i < files; ++i) {
      archive.File("f" + std::to_string(i), RandomBytes(5000, static_cast<uint32_t>(i)));
    }
    return image::GzipMember(archive.End().bytes());
  }

  floe::testing::TempDir directory_;
  floe::testing::FakeRegistry registry_;
  std::unique_ptr<Manager> manager_;
  std::unique_ptr<CachemgrService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<client::CachemgrClient> client_;
};

TEST_F(StreamServiceTest, TheIndexComesBackAndTheBlobIsComplete) {
  const std::string blob = Layer(400);
  std::atomic<uint64_t> progress = 0;
  FLOE_ASSERT_OK_AND_ASSIGN(
      const client::StreamedLayer layer,
      client_->StreamLayer(Call(blob), [&](uint64_t) { ++progress; }, nullptr));
  EXPECT_GT(progress, 0U);
  FLOE_ASSERT_OK_AND_ASSIGN(const image::LayerIndex index, image::DecodeLayerIndex(layer.tree));
  EXPECT_EQ(index.data().inodes.size(), 401U);
  EXPECT_EQ(layer.device_key, image::DeviceKey(image::EncodeBlobMap(index, 0)));
  FLOE_ASSERT_OK_AND_ASSIGN(v1::StatusReply status, client_->Status());
  ASSERT_EQ(status.blobs_size(), 1);
  EXPECT_EQ(status.blobs(0).key(), layer.device_key);
  EXPECT_EQ(status.blobs(0).present_bytes(), status.blobs(0).device_bytes());
  while (!status.blobs(0).complete()) {  // With the next checkpoint.
    FLOE_ASSERT_OK_AND_ASSIGN(status, client_->Status());
  }
  EXPECT_EQ(status.counters().layers_streamed(), 1U);
  EXPECT_EQ(status.counters().streamed_bytes(), blob.size());
  EXPECT_EQ(status.counters().streams_failed(), 0U);
}

TEST_F(StreamServiceTest, AnIndexOfSeveralParts) {
  image::TarArchive archive;  // Names that do not compress: the tree has more than one part.
  for (uint32_t i = 0; i < 12000; ++i) {
    const std::string name = RandomBytes(100, i);
    archive.File("n" + HexEncode({reinterpret_cast<const uint8_t*>(name.data()), 49}));
  }
  archive.File("f", "content");
  const std::string blob = archive.End().bytes();
  FLOE_ASSERT_OK_AND_ASSIGN(const client::StreamedLayer layer,
                            client_->StreamLayer(Call(blob), {}, nullptr));
  FLOE_ASSERT_OK_AND_ASSIGN(const image::LayerIndex index, image::DecodeLayerIndex(layer.tree));
  EXPECT_EQ(index.data().inodes.size(), 12002U);
}

TEST_F(StreamServiceTest, ErrorsHaveTheirCodes) {
  client::StreamLayerCall call = Call(Layer(10));
  call.diff_id = Digest::Of("another archive");
  FLOE_EXPECT_ERROR(client_->StreamLayer(call, {}, nullptr), ErrorCode::kDataLoss,
                    "its archive has the digest");
  FLOE_EXPECT_ERROR(client_->StreamLayer(Call(std::string(2000, 'x')), {}, nullptr),
                    ErrorCode::kInvalidArgument, "not a tar header");
  call.digest = Digest::Of("not there");
  FLOE_EXPECT_ERROR(client_->StreamLayer(call, {}, nullptr), ErrorCode::kNotFound, "404");
  call.sources.clear();
  FLOE_EXPECT_ERROR(client_->StreamLayer(call, {}, nullptr), ErrorCode::kInvalidArgument, "source");
  FLOE_ASSERT_OK_AND_ASSIGN(const v1::StatusReply status, client_->Status());
  EXPECT_EQ(status.blobs_size(), 0);
  EXPECT_EQ(status.counters().streams_failed(), 3U);
}

TEST_F(StreamServiceTest, ACallThatIsCancelledEndsAtTheCacheManagerToo) {
  const std::string blob = Layer(400);
  const client::StreamLayerCall call = Call(blob);
  registry_.InjectFault({.kind = Fault::Kind::kStall, .path_contains = "/blobs/", .bytes = 100000});
  std::atomic<bool> cancel = false;
  FLOE_EXPECT_ERROR(client_->StreamLayer(
                        call, [&](uint64_t) { cancel = true; }, &cancel),
                    ErrorCode::kCancelled, "");
  // The next call for the layer has to wait for the one that is given up.
  FLOE_ASSERT_OK(client_->StreamLayer(call, {}, nullptr));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto names, ListDirectory(directory_ / "root" / "blobs"));
  EXPECT_EQ(names.size(), 1U);
}

TEST_F(StreamServiceTest, ManyCallsAtOnceLeaveRoomForOthers) {
  registry_.InjectFault({.kind = Fault::Kind::kStall,
                         .path_contains = "/blobs/",
                         .times = Fault::kForever,
                         .bytes = 1000});
  std::atomic<bool> cancel = false;
  std::vector<std::jthread> calls;
  for (int i = 0; i < 20; ++i) {
    calls.emplace_back([this, &cancel, call = Call(Layer(5 + i))] {
      EXPECT_FALSE(client_->StreamLayer(call, {}, &cancel).has_value());
    });
  }
  FLOE_EXPECT_OK(client_->Status());
  cancel = true;
  calls.clear();
  FLOE_EXPECT_OK(client_->Status());
}

}  // namespace
}  // namespace floe::cachemgr::testing
