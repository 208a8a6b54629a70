// The cache manager against the running kernel: real FUSE, real EROFS, real loop devices, in a
// mount namespace of this process. What the kernel lacks is skipped, with the reason.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <thread>

#include "cachemgr/channel/erofs_mount.h"
#include "cachemgr/channel/fanotify/fanotify_channel.h"
#include "cachemgr/mounts/mount_points.h"
#include "tests/cachemgr/kernel_fixture.h"

namespace floe::cachemgr::testing {
namespace {

using ::testing::HasSubstr;

// On-demand mounts, once for each way to attach them.
class OnDemandKernelTest : public KernelTest, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) {
      return;
    }
    if (auto can = CanUseChannel(GetParam()); !can) {
      GTEST_SKIP() << can.error().message;
    }
    StartManager(GetParam());
  }
  /// "fuse" becomes "fuse-loop" by itself where files cannot be mounted.
  [[nodiscard]] static std::string ChannelName() {
    return GetParam() == std::string("fuse") && !CanMountFiles() ? "fuse-loop" : GetParam();
  }
};
std::string CaseName(const ::testing::TestParamInfo<const char*>& instance) {
  std::string name = instance.param;
  std::erase(name, '-');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Channels, OnDemandKernelTest,
                         ::testing::Values("fuse", "fuse-loop", "fanotify", "cachefiles"),
                         CaseName);

// Without a keeper: when the manager ends, its channel does.
class AloneKernelTest : public OnDemandKernelTest {};
INSTANTIATE_TEST_SUITE_P(Channels, AloneKernelTest,
                         ::testing::Values("fuse", "fuse-loop", "cachefiles"), CaseName);

// With a keeper: the next manager goes on.
class TakeOverKernelTest : public OnDemandKernelTest {
 protected:
  void SetUp() override {
    const bool cachefiles = GetParam() == std::string("cachefiles");
    if (!KernelAtLeast(6, cachefiles ? 8 : 9)) {
      GTEST_SKIP() << "a kernel that hands requests on: Linux 6.9, for cachefiles 6.8";
    }
    StartKeeper();
    OnDemandKernelTest::SetUp();
  }
  // A process with a manager, the image mounted, whose fetches never end; returns once a read of
  // this process waits there.
  pid_t StartDoomedManager(std::jthread& reader, Result<std::string>& read, size_t file);
};
INSTANTIATE_TEST_SUITE_P(Channels, TakeOverKernelTest,
                         ::testing::Values("fuse", "fuse-loop", "fanotify", "cachefiles"),
                         CaseName);

TEST_P(OnDemandKernelTest, FilesReadRightAndAreFetchedOnce) {
  FLOE_ASSERT_OK_AND_ASSIGN(const MountOutcome outcome, manager_->Mount(Request()));
  EXPECT_EQ(outcome.channel, ChannelName());
  EXPECT_FALSE(outcome.already_mounted);
  EXPECT_TRUE(client_->requests().empty());
  ReadEverything();
  const size_t requests = client_->requests().size();
  EXPECT_GT(requests, 0U);
  ReadEverything();
  EXPECT_EQ(client_->requests().size(), requests);
  EXPECT_GT(manager_->counters().reads_filled, 0U);
  EXPECT_EQ(manager_->counters().reads_failed, 0U);

  FLOE_ASSERT_OK(manager_->Unmount("image", false));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto point, CurrentMountPoint(target()));
  EXPECT_FALSE(point.has_value());
  FLOE_EXPECT_OK(manager_->Unmount("image", false));
}

TEST_P(OnDemandKernelTest, MountingTheSameAgainChangesNothing) {
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  FLOE_ASSERT_OK_AND_ASSIGN(const MountOutcome again, manager_->Mount(Request()));
  EXPECT_TRUE(again.already_mounted);
  EXPECT_EQ(again.channel, ChannelName());
  FLOE_ASSERT_OK(manager_->Unmount("image", false));
}

TEST_P(OnDemandKernelTest, AMountLearnsNewSources) {
  MountRequest request = Request();
  request.devices[0].sources.clear();
  FLOE_ASSERT_OK(manager_->Mount(request));
  EXPECT_FALSE(ReadMounted(0).has_value());
  FLOE_ASSERT_OK_AND_ASSIGN(const MountOutcome again, manager_->Mount(Request()));
  EXPECT_TRUE(again.already_mounted);
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadMounted(0));
  EXPECT_EQ(bytes, Expected(0));
}

TEST_P(OnDemandKernelTest, WhatIsMountedOnAFormerTargetIsNotTakenForTheImage) {
  const std::filesystem::path former = directory_ / "former";
  const std::filesystem::path other = directory_ / "other";
  FLOE_ASSERT_OK(CreateDirectories(former));
  FLOE_ASSERT_OK(CreateDirectories(other));
  for (const auto& [id, path] : {std::pair{"former", former}, std::pair{"other", other}}) {
    MountRequest request = Request(id);
    request.target = path;
    FLOE_ASSERT_OK(manager_->Mount(request));
  }
  FLOE_ASSERT_OK(manager_->Unmount("former", false));
  ASSERT_EQ(::mount("tmpfs", former.c_str(), "tmpfs", 0, nullptr), 0);
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  ReadEverything();
  ASSERT_EQ(::umount(former.c_str()), 0);
  FLOE_EXPECT_OK(manager_->Unmount("other", false));
}

TEST_P(OnDemandKernelTest, OtherUsersReadTheMount) {
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  FLOE_ASSERT_OK_AND_ASSIGN(const UniqueFd directory, OpenFile(target(), O_RDONLY | O_DIRECTORY));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {  // Only system calls from here on.
    constexpr uid_t kNobody = 65534;
    std::array<char, 4096> bytes{};
    const bool right = ::setgid(kNobody) == 0 && ::setuid(kNobody) == 0;
    const int fd = right ? ::openat(directory.get(), "f1", O_RDONLY) : -1;
    ::_exit(::read(fd, bytes.data(), bytes.size()) == 4096 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_P(OnDemandKernelTest, AFailedFetchIsEioAndTheNextReadTriesAgain) {
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  client_->SetScript([](const auto&) { return Unavailable("the registry is away"); });
  const auto failed = ReadMounted(0);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().os_errno, EIO);
  client_->SetScript(nullptr);
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadMounted(0));
  EXPECT_EQ(bytes, Expected(0));
}

TEST_P(OnDemandKernelTest, BytesThatDoNotMatchNeverReachTheReader) {
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  client_->SetScript([](const FakeRegistryClient::Request& request) {
    return Result<std::string>(std::string(request.range.length, 'x'));
  });
  const auto failed = ReadMounted(0);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().os_errno, EIO);
  EXPECT_GT(manager_->counters().integrity_errors, 0U);
}

TEST_P(OnDemandKernelTest, ABusyMountStaysUnlessDetachedAndIsServedToItsEnd) {
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  FLOE_ASSERT_OK_AND_ASSIGN(const UniqueFd file, OpenFile(target() / "f3", O_RDONLY));
  FLOE_EXPECT_ERROR(manager_->Unmount("image", false), ErrorCode::kFailedPrecondition, "busy");
  FLOE_ASSERT_OK(manager_->Unmount("image", true));
  std::string bytes(Expected(3).size(), '\0');
  FLOE_ASSERT_OK(PreadAll(file.get(), std::as_writable_bytes(std::span(bytes)), 0));
  EXPECT_EQ(bytes, Expected(3));
}

TEST_P(OnDemandKernelTest, CompleteBlobsNeedNoDaemon) {
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  ReadEverything();
  FLOE_ASSERT_OK(manager_->Unmount("image", false));
  if (ChannelName() == "cachefiles") {
    // The bytes are in the kernel's cache, also for the next manager.
    const size_t requests = client_->requests().size();
    FLOE_ASSERT_OK(manager_->Mount(Request()));
    ReadEverything();
    EXPECT_EQ(client_->requests().size(), requests);
    StartManager(GetParam());
    FLOE_ASSERT_OK(manager_->Mount(Request()));
    ReadEverything();
    EXPECT_TRUE(client_->requests().empty());
    return;
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const MountOutcome outcome, manager_->Mount(Request()));
  EXPECT_EQ(outcome.channel, "none");
  StopManager();
  ReadEverything();

  StartManager(GetParam());
  FLOE_ASSERT_OK_AND_ASSIGN(const MountOutcome again, manager_->Mount(Request()));
  EXPECT_TRUE(again.already_mounted);
  EXPECT_EQ(again.channel, "none");
  EXPECT_EQ(manager_->Blobs().front().mounts, 1U);
  FLOE_EXPECT_OK(manager_->Unmount("image", false));
}

TEST_P(AloneKernelTest, AMountOfADeadManagerIsMountedAnew) {
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  FLOE_ASSERT_OK(ReadMounted(0));
  FLOE_ASSERT_OK_AND_ASSIGN(const UniqueFd busy, OpenFile(target() / "f1", O_RDONLY));
  StopManager();
  StartManager(GetParam());
  ASSERT_EQ(manager_->Mounts().size(), 1U);
  EXPECT_FALSE(manager_->Mounts().front().live);
  EXPECT_FALSE(ReadMounted(3).has_value());

  FLOE_ASSERT_OK_AND_ASSIGN(const MountOutcome outcome, manager_->Mount(Request()));
  EXPECT_FALSE(outcome.already_mounted);
  EXPECT_TRUE(manager_->Mounts().front().live);
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadMounted(3));
  EXPECT_EQ(bytes, Expected(3));
}

TEST_P(AloneKernelTest, StopUnmountsWhatNobodyUses) {
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  FLOE_ASSERT_OK(ReadMounted(0));
  StopManager();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto point, CurrentMountPoint(target()));
  EXPECT_FALSE(point.has_value());
}

TEST_P(AloneKernelTest, AKilledManagerFailsPendingReadsWithEio) {
  StopManager();
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  UniqueFd from_child(ends[0]);
  UniqueFd to_parent(ends[1]);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    StartManager(GetParam());
    client_->SetScript([&](const auto&) -> std::optional<Result<std::string>> {
      (void)::write(to_parent.get(), "f", 1);
      for (;;) {
        ::pause();
      }
    });
    const bool mounted = manager_->Mount(Request()).has_value();
    (void)::write(to_parent.get(), mounted ? "m" : "x", 1);
    for (;;) {
      ::pause();
    }
  }
  to_parent.Reset();
  char said = 0;
  ASSERT_EQ(::read(from_child.get(), &said, 1), 1);
  ASSERT_EQ(said, 'm');
  Result<std::string> read = std::string();
  std::jthread reader([&] { read = ReadMounted(0); });
  ASSERT_EQ(::read(from_child.get(), &said, 1), 1);
  ASSERT_EQ(said, 'f');  // The read is pending.
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  reader.join();
  ASSERT_FALSE(read.has_value());
  // fscache says ENOBUFS once its cache is dead.
  const auto closed = ::testing::AnyOf(EIO, ChannelName() == "cachefiles" ? ENOBUFS : EIO);
  EXPECT_THAT(read.error().os_errno, closed);
  EXPECT_THAT(ReadMounted(4).error().os_errno, closed);
  EXPECT_EQ(::umount2(target().c_str(), 0), 0);
}

pid_t TakeOverKernelTest::StartDoomedManager(std::jthread& reader, Result<std::string>& read,
                                             size_t file) {
  StopManager();
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  UniqueFd from_child(ends[0]);
  UniqueFd to_parent(ends[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    StartManager(GetParam());
    client_->SetScript([&](const auto&) -> std::optional<Result<std::string>> {
      (void)::write(to_parent.get(), "f", 1);
      for (;;) {
        ::pause();
      }
    });
    const bool mounted = manager_->Mount(Request()).has_value();
    (void)::write(to_parent.get(), mounted ? "m" : "x", 1);
    for (;;) {
      ::pause();
    }
  }
  to_parent.Reset();
  char said = 0;
  EXPECT_EQ(::read(from_child.get(), &said, 1), 1);
  EXPECT_EQ(said, 'm');
  reader = std::jthread([&read, file, this] { read = ReadMounted(file); });
  EXPECT_EQ(::read(from_child.get(), &said, 1), 1);
  EXPECT_EQ(said, 'f');
  return child;
}

TEST_P(TakeOverKernelTest, AReadThatWaitsInAKilledManagerIsAnsweredByTheNext) {
  Result<std::string> read = std::string();
  std::jthread reader;
  const pid_t child = StartDoomedManager(reader, read, 0);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  StartManager(GetParam());
  reader.join();
  FLOE_ASSERT_OK(read);
  EXPECT_EQ(*read, Expected(0));
  ASSERT_EQ(manager_->Mounts().size(), 1U);
  EXPECT_TRUE(manager_->Mounts().front().live);
  ReadEverything();
  EXPECT_EQ(manager_->counters().reads_failed, 0U);
  FLOE_EXPECT_OK(manager_->Unmount("image", false));
}

TEST_P(TakeOverKernelTest, AStoppedManagerLeavesItsMountsToTheNext) {
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  FLOE_ASSERT_OK(ReadMounted(0));
  StopManager();
  StartManager(GetParam());
  FLOE_ASSERT_OK_AND_ASSIGN(const MountOutcome outcome, manager_->Mount(Request()));
  EXPECT_TRUE(outcome.already_mounted);
  ReadEverything();
  EXPECT_EQ(manager_->counters().reads_failed, 0U);
  FLOE_ASSERT_OK(manager_->Unmount("image", false));
  StopManager();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto client,
                            KeeperClient::Connect({.address = directory_ / "keeper.sock"}));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto held, client->All());
  EXPECT_TRUE(held.empty()) << held.begin()->first;
}

TEST_P(TakeOverKernelTest, ADetachedMountIsServedOverATakeOver) {
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  UniqueFd file;
  FLOE_ASSERT_OK_AND_ASSIGN(file, OpenFile(target() / "f3", O_RDONLY));
  FLOE_ASSERT_OK(manager_->Unmount("image", true));
  StopManager();
  StartManager(GetParam());
  EXPECT_EQ(manager_->Mounts().size(), 1U);
  std::string bytes(Expected(3).size(), '\0');
  FLOE_ASSERT_OK(PreadAll(file.get(), std::as_writable_bytes(std::span(bytes)), 0));
  EXPECT_EQ(bytes, Expected(3));
  file.Reset();
  StopManager();
  StartManager(GetParam());
  EXPECT_TRUE(manager_->Mounts().empty()) << "the kernel has let go of it";
}

TEST_P(TakeOverKernelTest, ADetachedMountIsServedOverTwoTakeOvers) {
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  FLOE_ASSERT_OK_AND_ASSIGN(const UniqueFd file, OpenFile(target() / "f3", O_RDONLY));
  FLOE_ASSERT_OK(manager_->Unmount("image", true));
  for (int i = 0; i < 2; ++i) {
    StopManager();
    StartManager(GetParam());
  }
  std::string bytes(Expected(3).size(), '\0');
  FLOE_ASSERT_OK(PreadAll(file.get(), std::as_writable_bytes(std::span(bytes)), 0));
  EXPECT_EQ(bytes, Expected(3));
}

TEST_P(TakeOverKernelTest, AMountWhoseBlobBecameCompleteIsServedByTheNext) {
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  ReadEverything();
  StopManager();
  StartManager(GetParam());
  FLOE_ASSERT_OK(DropCaches());
  ReadEverything();
  EXPECT_TRUE(client_->requests().empty());
  EXPECT_EQ(manager_->counters().reads_failed, 0U);
  FLOE_EXPECT_OK(manager_->Unmount("image", false));
}

// Killed between the last fill and the checkpoint that would have made the blob complete.
TEST_P(TakeOverKernelTest, AManagerKilledAfterTheLastFillIsFollowed) {
  StopManager();
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  UniqueFd from_child(ends[0]);
  UniqueFd to_parent(ends[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    StartManager(GetParam());
    const bool mounted = manager_->Mount(Request()).has_value();
    ReadEverything();
    (void)::write(to_parent.get(), mounted ? "m" : "x", 1);
    for (;;) {
      ::pause();
    }
  }
  char said = 0;
  EXPECT_EQ(::read(from_child.get(), &said, 1), 1);
  EXPECT_EQ(said, 'm');
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  StartManager(GetParam());
  FLOE_ASSERT_OK(DropCaches());
  ReadEverything();
  EXPECT_TRUE(client_->requests().empty());
  FLOE_EXPECT_OK(manager_->Unmount("image", false));
}

TEST_P(TakeOverKernelTest, AKeeperReplacedAfterATakeOverHoldsEverythingAgain) {
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  StopManager();
  std::array<int, 4> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(ends.data() + 2, O_CLOEXEC), 0);
  const UniqueFd from_child(ends[0]);
  const UniqueFd to_parent(ends[1]);
  const UniqueFd from_parent(ends[2]);
  const UniqueFd to_child(ends[3]);
  const pid_t child = ::fork();
  char said = 0;
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    StartManager(GetParam());
    (void)::write(to_parent.get(), "s", 1);
    (void)::read(from_parent.get(), &said, 1);
    const bool connected = manager_->KeeperState() == "connected";
    (void)::write(to_parent.get(), connected ? "c" : "x", 1);
    for (;;) {
      ::pause();
    }
  }
  ASSERT_EQ(::read(from_child.get(), &said, 1), 1);
  keeper_->Kill();
  StartKeeper();
  ASSERT_EQ(::write(to_child.get(), "k", 1), 1);
  ASSERT_EQ(::read(from_child.get(), &said, 1), 1);
  EXPECT_EQ(said, 'c');
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  StartManager(GetParam());
  ASSERT_EQ(manager_->Mounts().size(), 1U);
  EXPECT_TRUE(manager_->Mounts().front().live);
  ReadEverything();
  FLOE_EXPECT_OK(manager_->Unmount("image", false));
}

TEST_P(TakeOverKernelTest, AHalfMadeMountIsTakenOff) {
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  StopManager();
  const std::filesystem::path path = directory_ / "root" / "mounts" / "image" / "record.json";
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string json, ReadFile(path));
  FLOE_ASSERT_OK_AND_ASSIGN(MountRecord record, DecodeMountRecord(json));
  record.device = 0;
  FLOE_ASSERT_OK(WriteFileAtomically(path, EncodeMountRecord(record)));
  StartManager(GetParam());
  EXPECT_TRUE(manager_->Mounts().empty());
  FLOE_ASSERT_OK_AND_ASSIGN(const auto point, CurrentMountPoint(target()));
  EXPECT_FALSE(point.has_value());
  StopManager();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto client,
                            KeeperClient::Connect({.address = directory_ / "keeper.sock"}));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto held, client->All());
  EXPECT_TRUE(held.empty()) << held.begin()->first;
}

TEST_P(TakeOverKernelTest, AKeeperThatHoldsMountsIsNotLeftAlone) {
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  StopManager();
  const std::unique_ptr<KeeperProcess> keeper = std::move(keeper_);
  FLOE_EXPECT_ERROR(TryManager(GetParam()), ErrorCode::kFailedPrecondition,
                    "holds descriptors of mounts of this root");
}

class LostKernelTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    StartKeeper();
    if (auto can = CanUseChannel("fanotify"); !can) {
      GTEST_SKIP() << can.error().message;
    }
    StartManager("fanotify");
    FLOE_ASSERT_OK(manager_->Mount(Request()));
    FLOE_ASSERT_OK_AND_ASSIGN(busy_, OpenFile(target() / "f0", O_RDONLY));
  }
  void ExpectLost() const {
    ASSERT_EQ(manager_->Mounts().size(), 1U);
    EXPECT_TRUE(manager_->Mounts().front().record.lost);
    EXPECT_FALSE(manager_->Mounts().front().live);
  }
  UniqueFd busy_;
};

TEST_F(LostKernelTest, ALostMountStaysSoOverRestartsUntilItIsMountedAnew) {
  keeper_->Kill();
  StopManager();
  StartKeeper();
  for (int i = 0; i < 2; ++i) {
    StartManager("fanotify");
    ExpectLost();
    StopManager();
  }
  StartManager("fanotify");
  FLOE_ASSERT_OK_AND_ASSIGN(const MountOutcome outcome, manager_->Mount(Request()));
  EXPECT_FALSE(outcome.already_mounted);
  ReadEverything();
  busy_.Reset();
  FLOE_EXPECT_OK(manager_->Unmount("image", false));
}

TEST_F(LostKernelTest, AGroupThatCannotBeTakenOverFailsItsReadersAndIsReplaced) {
  StopManager();
  {
    FLOE_ASSERT_OK_AND_ASSIGN(const auto client,
                              KeeperClient::Connect({.address = directory_ / "keeper.sock"}));
    FLOE_ASSERT_OK_AND_ASSIGN(const auto held, client->All());
    for (const auto& [name, fd] : held) {
      if (name.ends_with(FanotifyChannel::kJournalName)) {
        FLOE_ASSERT_OK(PwriteAll(fd.get(), std::as_bytes(std::span("rubbish")), 0));
      }
    }
  }
  Result<std::string> waits = std::string();
  std::jthread reader([&] { waits = ReadMounted(3); });
  StartManager("fanotify");
  reader.join();
  if (waits) {
    EXPECT_EQ(*waits, Expected(3)) << "its event came after the new group watched the file";
  } else {
    EXPECT_EQ(waits.error().os_errno, EIO);
  }
  ExpectLost();
  ReadEverything();
  busy_.Reset();
  FLOE_EXPECT_OK(manager_->Unmount("image", false));
  StopManager();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto client,
                            KeeperClient::Connect({.address = directory_ / "keeper.sock"}));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto held, client->All());
  EXPECT_TRUE(held.empty()) << held.begin()->first;
}

TEST_F(KernelTest, AFullCacheFileSystemFailsReadsUntilThereIsRoom) {
  // EROFS takes no files of a tmpfs, so this is also the way to loop devices by itself.
  if (auto can = CanUseChannel("fuse-loop"); !can) {
    GTEST_SKIP() << can.error().message;
  }
  FLOE_ASSERT_OK(CreateDirectories(directory_ / "root"));
  const std::filesystem::path root = directory_ / "root";
  ASSERT_EQ(::mount("tmpfs", root.c_str(), "tmpfs", 0, "size=256k,mode=0700"), 0);
  StartManager();
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  const auto failed = ReadMounted(3);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().os_errno, EIO);
  EXPECT_EQ(manager_->counters().integrity_errors, 0U);
  ASSERT_EQ(::mount("tmpfs", root.c_str(), "tmpfs", MS_REMOUNT, "size=8m"), 0);
  ReadEverything();
  FLOE_EXPECT_OK(manager_->Unmount("image", false));
  StopManager();
  EXPECT_EQ(::umount2(root.c_str(), MNT_DETACH), 0);
}

TEST_F(KernelTest, CompleteMountsReadDirectlyWithALargeReadAhead) {
  if (auto can = CanUseChannel("auto"); !can) {
    GTEST_SKIP() << can.error().message;
  }
  StartManager();
  FLOE_ASSERT_OK_AND_ASSIGN(const MountOutcome first, manager_->Mount(Request()));
  if (first.channel != "fuse") {
    GTEST_SKIP() << "no file-backed mounts";
  }
  ReadEverything();
  FLOE_ASSERT_OK(manager_->Unmount("image", false));
  FLOE_ASSERT_OK(manager_->Mount(Request()));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string mounts, ReadFile("/proc/self/mountinfo"));
  const size_t line = mounts.find(target().native());
  ASSERT_NE(line, std::string::npos);
  EXPECT_THAT(mounts.substr(line, mounts.find('\n', line) - line), HasSubstr("directio"));
  bool raised = false;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/bdi")) {
    const auto value = ReadFile(entry.path() / "read_ahead_kb");
    raised = raised || (entry.path().filename().native().starts_with("erofs-") && value &&
                        *value == "4096\n");
  }
  EXPECT_TRUE(raised);
}

TEST_F(KernelTest, BadRequestsAreRefusedAndLeaveNothing) {
  StartManager();
  MountRequest wrong_digest = Request();
  wrong_digest.bootstrap_digest = Digest::Of(std::string_view("other"));
  FLOE_EXPECT_ERROR(manager_->Mount(wrong_digest), ErrorCode::kInvalidArgument, "has digest");

  MountRequest wrong_id = Request("../x");
  FLOE_EXPECT_ERROR(manager_->Mount(wrong_id), ErrorCode::kInvalidArgument, "mount id");

  MountRequest wrong_target = Request();
  wrong_target.target = directory_ / "missing";
  FLOE_EXPECT_ERROR(manager_->Mount(wrong_target), ErrorCode::kInvalidArgument, "existing");

  MountRequest wrong_key = Request();
  wrong_key.devices[0].key = "../../etc";
  FLOE_EXPECT_ERROR(manager_->Mount(wrong_key), ErrorCode::kInvalidArgument, "64 hex");

  MountRequest no_devices = Request();
  no_devices.devices.clear();
  FLOE_EXPECT_ERROR(manager_->Mount(no_devices), ErrorCode::kInvalidArgument, "1 devices");

  MountRequest wrong_map = Request();
  wrong_map.devices[0].blob_map = directory_ / "bootstrap";
  FLOE_EXPECT_ERROR(manager_->Mount(wrong_map), ErrorCode::kInvalidArgument, "BlobMap");

  for (const image::PrefetchRun run :
       {image::PrefetchRun{.first_unit = 0, .unit_count = 0},
        image::PrefetchRun{.first_unit = UINT32_MAX, .unit_count = 1},
        image::PrefetchRun{.first_unit = 1, .unit_count = UINT32_MAX}}) {
    MountRequest wrong_prefetch = Request();
    wrong_prefetch.devices[0].prefetch = {run};
    FLOE_EXPECT_ERROR(manager_->Mount(wrong_prefetch), ErrorCode::kInvalidArgument, "prefetch");
  }
  MountRequest wrong_windows = Request();
  wrong_windows.devices[0].windows = directory_ / "bootstrap";
  FLOE_EXPECT_ERROR(manager_->Mount(wrong_windows), ErrorCode::kInvalidArgument, "no windows");

  EXPECT_TRUE(manager_->Mounts().empty());
  EXPECT_TRUE(std::filesystem::is_empty(manager_->root() / "mounts"));
}

TEST_F(KernelTest, ANewMountFetchesWhatItAsksForAndKeepsItsNotes) {
  if (auto can = CanUseChannel("auto"); !can) {
    GTEST_SKIP() << can.error().message;
  }
  StartManager();
  MountRequest request = Request();
  request.devices[0].prefetch = {{.first_unit = 1, .unit_count = 2}};
  request.layers = {{.digest = blob_.digest.ToString(), .reader = "soci", .origin = "bound"}};
  FLOE_ASSERT_OK(manager_->Mount(request));
  client_->WaitForRequests(1);
  EXPECT_EQ(client_->requests()[0].range.offset, blob_.data.units[1].range.offset);
  ASSERT_EQ(manager_->Mounts().size(), 1U);
  EXPECT_EQ(manager_->Mounts()[0].record.layers, request.layers);
  StopManager();
  StartManager();
  for (const MountStatus& mount : manager_->Mounts()) {
    EXPECT_EQ(mount.record.layers, request.layers);
  }
}

TEST_F(KernelTest, ADamagedBootstrapIsRefused) {
  StartManager();
  std::string damaged = blob_.Bootstrap();
  damaged[1024 + 0x50] = static_cast<char>(damaged[1024 + 0x50] ^ 1);  // feature_incompat.
  FLOE_ASSERT_OK(WriteFileAtomically(directory_ / "bootstrap", damaged));
  MountRequest request = Request();
  request.bootstrap_digest = Digest::Of(damaged);
  FLOE_EXPECT_ERROR(manager_->Mount(request), ErrorCode::kInvalidArgument, "bootstrap");
}

// No cache is bound, whatever the kernel; what it lacks is told apart.
TEST_F(KernelTest, AMountOverCookiesSaysWhatTheKernelLacks) {
  const auto mount = CreateCookieMount(std::string(64, 'a'), "floe-test");
  ASSERT_FALSE(mount.has_value());
  if (::access("/dev/cachefiles", F_OK) != 0) {
    EXPECT_EQ(mount.error().code, ErrorCode::kFailedPrecondition);
    EXPECT_THAT(mount.error().message, HasSubstr("CONFIG_EROFS_FS_ONDEMAND"));
  }
}

TEST_F(KernelTest, OneManagerForEachRoot) {
  StartManager();
  FLOE_EXPECT_ERROR(Manager::Create({.root = directory_ / "root"}, nullptr, Clock::Real()),
                    ErrorCode::kFailedPrecondition, "another cache manager");
}

TEST_F(KernelTest, TheRootBelongsToNobodyElse) {
  FLOE_ASSERT_OK(CreateDirectories(directory_ / "open", 0755));
  ASSERT_EQ(::chmod((directory_ / "open").c_str(), 0755), 0);
  FLOE_EXPECT_ERROR(Manager::Create({.root = directory_ / "open"}, nullptr, Clock::Real()),
                    ErrorCode::kFailedPrecondition, "open to others");
}

TEST_F(KernelTest, ProbesNameWhatIsMissing) {
  StartManager();
  for (const Channels::ProbeResult& probe : manager_->Probe()) {
    EXPECT_TRUE(probe.usable || !probe.detail.empty()) << probe.name;
    EXPECT_EQ(probe.detail.find('\n'), std::string::npos);
  }
  EXPECT_FALSE(std::filesystem::exists(manager_->root() / "probe"));
}

}  // namespace
}  // namespace floe::cachemgr::testing
