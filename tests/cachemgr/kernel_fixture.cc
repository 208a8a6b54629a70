#include "tests/cachemgr/kernel_fixture.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

#include "base/check.h"
#include "base/unix_socket.h"
#include "cachemgr/keeper/keeper.h"
#include "cachemgr/mounts/channels.h"

namespace floe::cachemgr::testing {

Result<void> EnterPrivateMountNamespace() {
  static const Result<void> kEntered = []() -> Result<void> {
    if (::geteuid() != 0) {
      return FailedPrecondition("mounting needs root");
    }
    if (::unshare(CLONE_NEWNS) != 0) {
      return ErrnoError(errno, "unshare the mount namespace");
    }
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      return ErrnoError(errno, "make mounts private");
    }
    return Ok();
  }();
  return kEntered;
}

Result<void> CanUseChannel(const std::string& channel) {
  FLOE_RETURN_IF_ERROR(EnterPrivateMountNamespace());
  const floe::testing::TempDir directory;
  const KeeperProcess keeper(directory / "keeper.sock");
  FLOE_ASSIGN_OR_RETURN(const auto client,
                        KeeperClient::Connect({.address = directory / "keeper.sock"}));
  Channels channels({.configured = channel,
                     .probe_directory = directory.path() / "probe",
                     .cachefiles_directory = directory.path() / "cachefiles",
                     .keeper = client.get()});
  FLOE_RETURN_IF_ERROR(channels.OnDemand());
  return Ok();
}

bool KernelAtLeast(int major, int minor) {
  utsname kernel{};
  ::uname(&kernel);
  int found_major = 0;
  int found_minor = 0;
  return std::sscanf(kernel.release, "%d.%d", &found_major, &found_minor) == 2 &&
         std::pair(found_major, found_minor) >= std::pair(major, minor);
}

bool CanMountFiles() {
  static const bool kCan = [] {
    const floe::testing::TempDir directory;
    Channels channels({.probe_directory = directory.path() / "probe"});
    return channels.Plain().value_or(Attachment::kLoop) == Attachment::kFile;
  }();
  return kCan;
}

KeeperProcess::KeeperProcess(const std::filesystem::path& address) {
  auto listener = ListenOnUnixSocket(address, SOCK_SEQPACKET);
  FLOE_CHECK(listener.has_value());
  const auto keeper =
      std::make_unique<Keeper>(std::move(*listener), UniqueFd(::eventfd(0, EFD_CLOEXEC)),
                               Keeper::Options{.uid = ::geteuid()});
  pid_ = ::fork();
  FLOE_CHECK(pid_ >= 0);
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    keeper->Run();
    ::_exit(1);
  }
}

void KeeperProcess::Kill() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
}

void KernelTest::SetUp() {
  if (auto can = EnterPrivateMountNamespace(); !can) {
    GTEST_SKIP() << can.error().message;
  }
  FLOE_ASSERT_OK(CreateDirectories(target()));
  FLOE_ASSERT_OK(WriteFileAtomically(directory_ / "map", blob_.map));
  FLOE_ASSERT_OK(WriteFileAtomically(directory_ / "bootstrap", blob_.Bootstrap()));
}

void KernelTest::TearDown() {
  manager_.reset();
  ::umount2(target().c_str(), MNT_DETACH);
}

void KernelTest::StartKeeper() {
  keeper_ = std::make_unique<KeeperProcess>(directory_ / "keeper.sock");
}

void KernelTest::StartManager(const std::string& channel) {
  if (channel == "fanotify" && keeper_ == nullptr) {
    StartKeeper();
  }
  FLOE_ASSERT_OK(TryManager(channel));
}

Result<void> KernelTest::TryManager(const std::string& channel) {
  manager_.reset();
  auto client = std::make_unique<FakeRegistryClient>();
  client_ = client.get();
  client_->AddBlob(blob_.blob);
  auto held = std::make_shared<std::unique_ptr<FakeRegistryClient>>(std::move(client));
  auto manager = Manager::Create(
      {.root = directory_ / "root",
       .channel = channel,
       .keeper_address = keeper_ == nullptr ? "none" : (directory_ / "keeper.sock").native()},
      [held](const std::string&) -> Result<std::unique_ptr<fetcher::RegistryClient>> {
        return std::unique_ptr<fetcher::RegistryClient>(std::move(*held));
      },
      Clock::Real());
  if (!manager) {
    return manager.error();
  }
  manager_ = std::move(*manager);
  return Ok();
}

Result<void> KernelTest::DropCaches() {
  FLOE_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile("/proc/sys/vm/drop_caches", O_WRONLY));
  return ::write(fd.get(), "3", 1) == 1 ? Ok() : Result<void>(ErrnoError(errno, "drop_caches"));
}

MountRequest KernelTest::Request(const std::string& id) const {
  MountRequest request;
  request.id = id;
  request.bootstrap = directory_ / "bootstrap";
  request.bootstrap_digest = Digest::Of(blob_.Bootstrap());
  request.devices.push_back({.key = blob_.key,
                             .blob_map = directory_ / "map",
                             .sources = {{.repository = {.registry = "registry", .path = "app"}}}});
  request.target = target();
  return request;
}

Result<std::string> KernelTest::ReadMounted(size_t file) const {
  return ReadFile(target() / ("f" + std::to_string(file)));
}

std::string KernelTest::Expected(size_t file) const {
  return blob_.Bytes(
      {.offset = blob_.file_offsets[file], .length = blob_.data.inodes[file + 1].size_bytes});
}

void KernelTest::ReadEverything() const {
  for (size_t file = 0; file < blob_.file_offsets.size(); ++file) {
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadMounted(file));
    ASSERT_EQ(bytes, Expected(file)) << file;
  }
}

}  // namespace floe::cachemgr::testing
