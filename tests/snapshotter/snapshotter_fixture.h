#pragma once

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "snapshotter/snapshots.h"
#include "tests/snapshotter/fake_images.h"
#include "tests/support/fake_clock.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::testing {

/// A Snapshotter over a temporary root, with fakes around it. Needs root: snapshots belong to it.
class SnapshotterFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) {
      GTEST_SKIP() << "snapshots belong to root";
    }
    Restart();
  }

  /// What a restart of the daemon is to its root.
  void Restart() {
    snapshots_.reset();
    auto created = snapshotter::Snapshotter::Create({.layout = layout_,
                                                     .images = source_,
                                                     .mounter = with_mounter_ ? &mounter_ : nullptr,
                                                     .clock = clock_,
                                                     .resolve_timeout = std::chrono::seconds(20),
                                                     .overlay = {.index = true}});
    FLOE_ASSERT_OK(created);
    snapshots_ = std::move(created).value();
  }

  /// Prepares, writes `files` (empty), commits.
  void MakeUnpacked(const std::string& name, const std::string& parent,
                    const std::vector<std::string>& files = {}) {
    auto mounts = snapshots_->Prepare("active " + name, parent, {});
    FLOE_ASSERT_OK(mounts);
    const std::filesystem::path upper = UpperOf(*mounts);
    for (const std::string& file : files) {
      std::filesystem::create_directories((upper / file).parent_path());
      const std::ofstream made(upper / file);
      ASSERT_TRUE(made.good());
    }
    FLOE_ASSERT_OK(snapshots_->Commit(name, "active " + name, {}, ""));
  }

  /// Where the writes of an active snapshot go.
  static std::filesystem::path UpperOf(const std::vector<snapshotter::Mount>& mounts) {
    if (mounts[0].type == "bind") {
      return mounts[0].source;
    }
    return Option(mounts, "upperdir");
  }
  static std::string Option(const std::vector<snapshotter::Mount>& mounts,
                            const std::string& name) {
    for (const std::string& option : mounts[0].options) {
      if (option.starts_with(name + "=")) {
        return option.substr(name.size() + 1);
      }
    }
    return "";
  }
  /// lowerdir=, without the root.
  std::vector<std::string> Lowers(const std::vector<snapshotter::Mount>& mounts) const {
    std::vector<std::string> lowers;
    std::string rest = Option(mounts, "lowerdir");
    while (!rest.empty()) {
      const std::string one = rest.substr(0, rest.find(':'));
      rest.erase(0, one.size() + 1);
      lowers.push_back(std::filesystem::path(one).lexically_relative(layout_.root()));
    }
    return lowers;
  }

  /// Names below a directory of the root.
  std::vector<std::string> Names(const std::filesystem::path& directory) const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  TempDir directory_;
  FakeClock clock_;
  FakeImageSource source_;
  FakeMounter mounter_;
  bool with_mounter_ = true;
  const snapshotter::RootLayout layout_{directory_ / "root"};
  std::unique_ptr<snapshotter::Snapshotter> snapshots_;
};

}  // namespace floe::testing
