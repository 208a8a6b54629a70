#include "cachemgr/keeper/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/unix_socket.h"
#include "cachemgr/keeper/keeper_client.h"
#include "cachemgr/keeper/own_cgroup.h"
#include "tests/cachemgr/keeper_thread.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::cachemgr {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::KeeperThread;
using ::testing::Key;
using ::testing::UnorderedElementsAre;

class KeeperTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path address() const { return directory_ / "keeper.sock"; }
  [[nodiscard]] std::unique_ptr<KeeperClient> Connect() const {
    auto client = KeeperClient::Connect({.address = address(), .program = ""});
    EXPECT_TRUE(client.has_value()) << client.error().ToString();
    return std::move(*client);
  }
  // A file with this content, as a descriptor.
  static UniqueFd Memory(const std::string& content) {
    UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
    EXPECT_TRUE(PwriteAll(fd.get(), std::as_bytes(std::span(content)), 0).has_value());
    return fd;
  }
  static std::string Content(const UniqueFd& fd) {
    std::string content(1, '\0');
    EXPECT_TRUE(PreadAll(fd.get(), std::as_writable_bytes(std::span(content)), 0).has_value());
    return content;
  }

  floe::testing::TempDir directory_;
};

TEST_F(KeeperTest, WhatOneManagerLeavesTheNextFinds) {
  const KeeperThread keeper(address());
  {
    const auto first = Connect();
    FLOE_ASSERT_OK(first->Keep("a", Memory("1").get()));
    FLOE_ASSERT_OK(first->Keep("b", Memory("2").get()));
    FLOE_ASSERT_OK(first->Keep("a", Memory("3").get()));
  }
  const auto second = Connect();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto all, second->All());
  ASSERT_THAT(all, UnorderedElementsAre(Key("a"), Key("b")));
  EXPECT_EQ(Content(all.at("a")), "3");
  EXPECT_EQ(Content(all.at("b")), "2");
  EXPECT_EQ(::fcntl(all.at("a").get(), F_GETFD), FD_CLOEXEC);
  FLOE_ASSERT_OK_AND_ASSIGN(const UniqueFd found, second->Find("b"));
  EXPECT_EQ(Content(found), "2");
  second->Release("a");
  FLOE_ASSERT_OK_AND_ASSIGN(const auto rest, second->All());
  EXPECT_THAT(rest, ElementsAre(Key("b")));
  EXPECT_EQ(second->Find("a").error().code, ErrorCode::kNotFound);
  second->Release("b");
}

TEST_F(KeeperTest, ALostKeeperIsReplacedAndGetsEverythingAgain) {
  std::unique_ptr<KeeperClient> client;
  {
    const KeeperThread keeper(address());
    client = Connect();
    FLOE_ASSERT_OK(client->Keep("a", Memory("1").get()));
    // The thread may only end with nothing held: as a kill would have it, but for this line.
    ASSERT_TRUE(Connect() != nullptr);
    Connect()->Release("a");
  }
  EXPECT_EQ(client->Check().error().code, ErrorCode::kNotFound);
  EXPECT_EQ(client->Keep("b", Memory("2").get()).error().code, ErrorCode::kUnavailable);
  const KeeperThread another(address());
  FLOE_ASSERT_OK(client->Check());
  FLOE_ASSERT_OK_AND_ASSIGN(const auto all, client->All());
  EXPECT_THAT(all, ElementsAre(Key("a")));
  client->Release("a");
}

TEST_F(KeeperTest, ALostKeeperIsGivenWhatWasTakenOver) {
  std::unique_ptr<KeeperClient> client;
  {
    const KeeperThread keeper(address());
    FLOE_ASSERT_OK(Connect()->Keep("a", Memory("1").get()));
    client = Connect();
    FLOE_ASSERT_OK(client->All());
    Connect()->Release("a");
  }
  const KeeperThread another(address());
  FLOE_ASSERT_OK(client->Check());
  FLOE_ASSERT_OK_AND_ASSIGN(const UniqueFd found, Connect()->Find("a"));
  EXPECT_EQ(Content(found), "1");
  client->Release("a");
}

TEST_F(KeeperTest, RootsHaveNamesOfTheirOwn) {
  const KeeperThread keeper(address());
  const auto of = [&](const std::string& root) {
    auto client = KeeperClient::Connect({.address = address(), .space = root});
    EXPECT_TRUE(client.has_value());
    return std::move(*client);
  };
  const auto first = of("1/");
  const auto second = of("2/");
  FLOE_ASSERT_OK(first->Keep("a", Memory("1").get()));
  FLOE_ASSERT_OK(second->Keep("a", Memory("2").get()));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto all, second->All());
  ASSERT_THAT(all, ElementsAre(Key("a")));
  EXPECT_EQ(Content(all.at("a")), "2");
  first->Release("a");
  second->Release("a");
}

TEST_F(KeeperTest, AFullKeeperSaysSo) {
  const KeeperThread keeper(address(), /*while_needed=*/false, /*capacity=*/1);
  const auto client = Connect();
  FLOE_ASSERT_OK(client->Keep("a", Memory("1").get()));
  FLOE_EXPECT_ERROR(client->Keep("b", Memory("2").get()), ErrorCode::kResourceExhausted, "b");
  FLOE_ASSERT_OK(client->Keep("a", Memory("2").get()));
  client->Release("a");
}

TEST_F(KeeperTest, AFileThatIsNoSocketStays) {
  FLOE_ASSERT_OK(WriteFileAtomically(address(), "precious"));
  FLOE_EXPECT_ERROR(ListenOnUnixSocket(address(), SOCK_SEQPACKET), ErrorCode::kFailedPrecondition,
                    "is not a socket");
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string content, ReadFile(address()));
  EXPECT_EQ(content, "precious");
}

TEST_F(KeeperTest, ItStaysWhileItHoldsSomethingAndEndsThen) {
  KeeperThread keeper(address());
  const auto client = Connect();
  FLOE_ASSERT_OK(client->Keep("a", Memory("1").get()));
  keeper.AskToEnd();
  FLOE_ASSERT_OK(client->Check());
  client->Release("a");
  keeper.Join();
}

TEST_F(KeeperTest, WhileNeededItEndsWithItsLastManager) {
  KeeperThread keeper(address(), /*while_needed=*/true);
  (void)Connect();
  keeper.Join();
}

TEST_F(KeeperTest, NobodyAnswersAndNothingIsToBeStarted) {
  FLOE_EXPECT_ERROR(KeeperClient::Connect({.address = address(), .program = ""}),
                    ErrorCode::kNotFound, "nobody answers on");
  FLOE_EXPECT_ERROR(KeeperClient::Connect({.address = address(), .program = "/does/not/exist"}),
                    ErrorCode::kNotFound, "start /does/not/exist");
}

TEST_F(KeeperTest, ASecondKeeperIsRefused) {
  const KeeperThread keeper(address());
  FLOE_EXPECT_ERROR(ListenOnUnixSocket(address(), SOCK_SEQPACKET), ErrorCode::kFailedPrecondition,
                    "another process answers on");
}

TEST_F(KeeperTest, ForeignWordsEndTheConnectionAndNothingElse) {
  const KeeperThread keeper(address());
  const auto client = Connect();
  FLOE_ASSERT_OK(client->Keep("a", Memory("1").get()));
  const auto says = [&](const std::string& words) {
    auto socket = ConnectToUnixSocket(address(), SOCK_SEQPACKET);
    EXPECT_TRUE(socket.has_value());
    EXPECT_EQ(::send(socket->get(), words.data(), words.size(), 0), std::ssize(words));
    std::array<char, 1> byte{};
    return ::recv(socket->get(), byte.data(), byte.size(), 0);
  };
  EXPECT_EQ(says("x"), 0);
  EXPECT_EQ(says(std::string(sizeof(KeeperMessage), '\xff')), 0);
  EXPECT_EQ(says(std::string(4096, '\0')), 0);
  auto socket = ConnectToUnixSocket(address(), SOCK_SEQPACKET);
  ASSERT_TRUE(socket.has_value());
  for (const uint32_t request : {2U, 4U, 99U}) {  // Keep without descriptor or name; unknown.
    ASSERT_TRUE(SendKeeperPacket(socket->get(), {.request = request}, -1, 0));
    const auto answer = ReceiveKeeperPacket(socket->get(), 0);
    ASSERT_TRUE(answer.has_value());
    EXPECT_NE(answer->message.error, 0) << request;
  }
  FLOE_ASSERT_OK(client->Check());
  FLOE_EXPECT_ERROR(client->Keep(std::string(200, 'n'), 0), ErrorCode::kInvalidArgument,
                    "too long");
  client->Release("a");
}

TEST(KeeperPacketTest, ADescriptorBesideNoBytesIsClosed) {
  std::array<int, 2> line{}, pipe{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line.data()), 0);
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const UniqueFd sender(line[0]), receiver(line[1]), read_end(pipe[0]);
  {
    const UniqueFd write_end(pipe[1]);
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr header{};
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &pipe[1], sizeof(int));
    ASSERT_EQ(::sendmsg(sender.get(), &header, 0), 0);
  }
  EXPECT_FALSE(ReceiveKeeperPacket(receiver.get(), 0).has_value());
  pollfd writers{.fd = read_end.get(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&writers, 1, 0), 1);
  EXPECT_EQ(writers.revents, POLLHUP);  // Nobody has the other end any more.
}

TEST(CgroupRootsTest, HierarchiesWhereTheProcessIsNotInTheRoot) {
  const std::string mountinfo =
      "30 20 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
      "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
      "32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
      "33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
      "34 30 0:30 /pod /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
  EXPECT_THAT(CgroupRoots("0::/a\n1:name=systemd:/b\n2:cpu,cpuacct:/c\n3:memory:/d\n", mountinfo),
              ElementsAre("/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd",
                          "/sys/fs/cgroup/cpu,cpuacct"));
  EXPECT_THAT(CgroupRoots("0::/\n2:cpu,cpuacct:/c\nrubbish\n", mountinfo),
              ElementsAre("/sys/fs/cgroup/cpu,cpuacct"));
  EXPECT_THAT(CgroupRoots("", ""), IsEmpty());
}

}  // namespace
}  // namespace floe::cachemgr
