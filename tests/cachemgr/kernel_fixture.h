#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <gmock/gmock.h>

#include "base/file.h"
#include "cachemgr/manager.h"
#include "tests/cachemgr/fake_registry_client.h"
#include "tests/cachemgr/test_blob.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::cachemgr::testing {

/// Moves this process into a mount namespace of its own, once, so that nothing is seen outside or
/// left behind. FailedPrecondition with the reason where that, or mounting, is not possible.
Result<void> EnterPrivateMountNamespace();

/// Whether this kernel can mount through a channel ("auto", "fuse-loop"); the error says why not.
Result<void> CanUseChannel(const std::string& channel);

/// By the release that uname(2) names.
bool KernelAtLeast(int major, int minor);

/// Whether this kernel mounts EROFS from files (Linux 6.12).
bool CanMountFiles();

/// A keeper in a process of its own, killed at the end whatever it holds. Before other threads run.
class KeeperProcess {
 public:
  explicit KeeperProcess(const std::filesystem::path& address);
  ~KeeperProcess() { Kill(); }
  KeeperProcess(const KeeperProcess&) = delete;
  KeeperProcess& operator=(const KeeperProcess&) = delete;
  void Kill();

 private:
  pid_t pid_ = -1;
};

/// A cache manager over real mounts, with a fake registry. The blob's files are f0, f1, ...
class KernelTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  void StartKeeper();
  /// A manager on the same root, as after a restart of the process; over fanotify with a keeper.
  void StartManager(const std::string& channel = "auto");
  Result<void> TryManager(const std::string& channel);
  void StopManager() { manager_.reset(); }
  [[nodiscard]] MountRequest Request(const std::string& id = "image") const;
  [[nodiscard]] std::filesystem::path target() const { return directory_ / "target"; }
  /// The bytes of fN as the kernel reads them.
  Result<std::string> ReadMounted(size_t file) const;
  [[nodiscard]] std::string Expected(size_t file) const;
  /// Reads every file, so that the blob becomes complete.
  void ReadEverything() const;
  /// Pages that can be read again.
  static Result<void> DropCaches();

  floe::testing::TempDir directory_;
  std::unique_ptr<KeeperProcess> keeper_;  // Null: the manager has none.
  TestBlob blob_ = TestBlob::Make({.file_bytes = {10000, 4096, 1, 300000, 70000}, .seed = 5});
  FakeRegistryClient* client_ = nullptr;  // Of the running manager.
  std::unique_ptr<Manager> manager_;
};

}  // namespace floe::cachemgr::testing
