#include "snapshotter/service/server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "tests/snapshotter/snapshotter_fixture.h"

namespace floe::snapshotter {
namespace {

namespace v1 = containerd::services::snapshots::v1;

class ServerTest : public testing::SnapshotterFixture {
 protected:
  /// A socket file whose process is gone.
  void LeaveStaleSocket() {
    const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, address_.data(), address_.size());
    ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
              0);
  }

  bool Answers() {
    auto stub = v1::Snapshots::NewStub(
        grpc::CreateChannel("unix:" + address_, grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    v1::StatSnapshotRequest request;
    request.set_key("none");
    v1::StatSnapshotResponse response;
    return stub->Stat(&context, request, &response).error_code() == grpc::StatusCode::NOT_FOUND;
  }

  const std::string address_ = (directory_ / "socket").native();
};

TEST_F(ServerTest, ServesOnASocketOfRootsOwn) {
  FLOE_ASSERT_OK_AND_ASSIGN(const auto server, Server::Start(address_, *snapshots_));
  struct stat status{};
  ASSERT_EQ(::stat(address_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
  EXPECT_TRUE(Answers());
}

TEST_F(ServerTest, SocketIsGoneAfterTheEnd) {
  {
    FLOE_ASSERT_OK_AND_ASSIGN(const auto server, Server::Start(address_, *snapshots_));
  }
  EXPECT_FALSE(std::filesystem::exists(address_));
}

TEST_F(ServerTest, ReplacesAStaleSocket) {
  LeaveStaleSocket();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto server, Server::Start(address_, *snapshots_));
  EXPECT_TRUE(Answers());
}

TEST_F(ServerTest, NeverTakesASocketThatIsServed) {
  FLOE_ASSERT_OK_AND_ASSIGN(const auto server, Server::Start(address_, *snapshots_));
  FLOE_EXPECT_ERROR(Server::Start(address_, *snapshots_), ErrorCode::kFailedPrecondition,
                    "another process answers");
  EXPECT_TRUE(Answers());
}

TEST_F(ServerTest, NeverRemovesWhatIsNoSocket) {
  FLOE_ASSERT_OK(WriteFileAtomically(address_, "precious"));
  FLOE_EXPECT_ERROR(Server::Start(address_, *snapshots_), ErrorCode::kFailedPrecondition,
                    "is not a socket");
  EXPECT_TRUE(std::filesystem::exists(address_));
}

TEST_F(ServerTest, LongPathIsRefused) {
  FLOE_EXPECT_ERROR(Server::Start("/tmp/" + std::string(200, 'x'), *snapshots_),
                    ErrorCode::kInvalidArgument, "longer than");
}

TEST_F(ServerTest, RootHasOneProcess) {
  FLOE_ASSERT_OK_AND_ASSIGN(UniqueFd first, LockRoot(layout_.lock()));
  FLOE_EXPECT_ERROR(LockRoot(layout_.lock()), ErrorCode::kFailedPrecondition,
                    "another process uses");
  first.Reset();
  FLOE_EXPECT_OK(LockRoot(layout_.lock()));
}

}  // namespace
}  // namespace floe::snapshotter
