#include "snapshotter/repair.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "snapshotter/root_store.h"
#include "snapshotter/store/sqlite.h"
#include "tests/support/fake_clock.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::snapshotter {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr size_t kPageBytes = 4096;  // SQLite's own default.

LazyLayer SomeLayer(const std::string& name) {
  return {.chain_id = Digest::Of("chain " + name),
          .layer_digest = Digest::Of("layer " + name),
          .manifest_digest = Digest::Of("manifest"),
          .image_ref = "registry.test/app:1",
          .position = 3,
          .index_scope = "repository-x"};
}

class RepairTest : public ::testing::Test {
 protected:
  void SetUp() override { FLOE_ASSERT_OK(CreateDirectories(layout_.snapshots())); }

  std::unique_ptr<MetaStore> Open() {
    auto store = OpenRootStore(layout_, clock_);
    EXPECT_TRUE(store.has_value());
    return std::move(*store);
  }
  Result<uint64_t> Create(MetaStore& store, Kind kind, const std::string& name,
                          const std::string& parent = "", const Labels& labels = {}) {
    return store.Create(kind, name, parent, labels,
                        [&](uint64_t id) { return CreateDirectories(layout_.upper(id)); });
  }
  void MakeLayer(MetaStore& store, const std::string& name, const std::string& parent = "") {
    FLOE_ASSERT_OK(Create(store, Kind::kActive, "active " + name, parent));
    FLOE_ASSERT_OK(store.Commit("active " + name, name, {{"label", name}}, ""));
  }
  // Lazy layers below unpacked ones below a container, many times.
  void MakeSomeChains(int count) {
    const auto store = Open();
    for (int i = 0; i < count; ++i) {
      const std::string n = std::to_string(i);
      FLOE_ASSERT_OK(store->CreateLazy("lazy " + n, "", {{"of", n}}, SomeLayer(n)));
      MakeLayer(*store, "layer " + n, "lazy " + n);
      FLOE_ASSERT_OK(Create(*store, Kind::kActive, "container " + n, "layer " + n));
    }
  }
  // What is known of each snapshot, in a line.
  std::map<std::string, std::string> Contents() {
    std::map<std::string, std::string> lines;
    const auto store = Open();
    auto infos = store->List();
    EXPECT_TRUE(infos.has_value());
    for (const Info& info : *infos) {
      auto snapshot = store->Get(info.name);
      EXPECT_TRUE(snapshot.has_value()) << info.name;
      lines[info.name] = fmt::format("{} {} {} {} {}", snapshot->id, static_cast<int>(info.kind),
                                     info.parent, info.labels.size(),
                                     snapshot->lazy ? snapshot->lazy->chain_id.ToString() : "-");
      if (!info.parent.empty()) {
        FLOE_EXPECT_OK(store->GetChain(info.parent));
      }
    }
    return lines;
  }
  void Execute(const std::string& sql) {
    FLOE_ASSERT_OK_AND_ASSIGN(const auto database, Database::Open(layout_.metadata()));
    FLOE_ASSERT_OK(database->Execute(sql));
  }
  void Overwrite(size_t offset, const std::string& bytes) {
    std::fstream file(layout_.metadata(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file << bytes;
    ASSERT_TRUE(file.good());
  }

  testing::TempDir directory_;
  testing::FakeClock clock_;
  const RootLayout layout_{directory_ / "root"};
};

TEST_F(RepairTest, WhereNothingEverWasThereIsNothingToRepair) {
  FLOE_EXPECT_ERROR(RepairStore(layout_, clock_), ErrorCode::kNotFound, "no metadata store");
}

TEST_F(RepairTest, ASoundStoreStaysAsItIs) {
  MakeSomeChains(2);
  const auto before = Contents();
  FLOE_ASSERT_OK_AND_ASSIGN(const RepairReport report, RepairStore(layout_, clock_));
  EXPECT_TRUE(report.was_sound);
  EXPECT_EQ(Contents(), before);
  EXPECT_FALSE(fs::exists(layout_.lost_and_found()));
}

TEST_F(RepairTest, AStoreOfANewerProgramIsLeftAlone) {
  MakeSomeChains(1);
  Execute("PRAGMA user_version=99");
  FLOE_EXPECT_ERROR(RepairStore(layout_, clock_), ErrorCode::kFailedPrecondition, "99");
}

TEST_F(RepairTest, AGoneStoreIsReportedAndNotMadeAnew) {
  MakeSomeChains(2);
  const std::string instance = Open()->instance();
  FLOE_ASSERT_OK(WriteFileAtomically(layout_.upper(3) / "work of a container", "precious"));
  FLOE_ASSERT_OK(RemoveFile(layout_.metadata()));
  for (int i = 0; i < 2; ++i) {  // Nor by the second start, when the first has left an empty file.
    FLOE_EXPECT_ERROR(OpenRootStore(layout_, clock_), ErrorCode::kDataLoss, "gone; to repair it");
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const RepairReport report, RepairStore(layout_, clock_));
  EXPECT_EQ(report.kept, 0U);
  EXPECT_EQ(report.lost, 4U);  // Those with directories.
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string kept,
                            ReadFile(report.aside / "3" / "fs" / "work of a container"));
  EXPECT_EQ(kept, "precious");
  FLOE_ASSERT_OK_AND_ASSIGN(const auto left, ListDirectory(layout_.snapshots()));
  EXPECT_TRUE(left.empty());
  const auto store = Open();
  EXPECT_EQ(store->instance(), instance);
  FLOE_ASSERT_OK_AND_ASSIGN(const uint64_t id, Create(*store, Kind::kActive, "new"));
  EXPECT_GT(id, 6U);
}

TEST_F(RepairTest, AFileThatIsNoDatabase) {
  MakeSomeChains(1);
  FLOE_ASSERT_OK(WriteFileAtomically(layout_.metadata(), std::string(3 * kPageBytes, 'x')));
  auto refused = OpenRootStore(layout_, clock_);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kDataLoss);
  EXPECT_THAT(refused.error().message,
              HasSubstr("floe-snapshotter --root " + layout_.root().native() + " --repair"));
  FLOE_ASSERT_OK_AND_ASSIGN(const RepairReport report, RepairStore(layout_, clock_));
  EXPECT_EQ(report.kept, 0U);
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string old, ReadFile(report.aside / "metadata.db"));
  EXPECT_EQ(old, std::string(3 * kPageBytes, 'x'));
  EXPECT_TRUE(Contents().empty());
}

TEST_F(RepairTest, WhatStandsOnALostSnapshotIsLost) {
  MakeSomeChains(2);
  Execute("PRAGMA foreign_keys=OFF; DELETE FROM snapshots WHERE name='lazy 0'");
  FLOE_EXPECT_ERROR(OpenRootStore(layout_, clock_), ErrorCode::kDataLoss, "--repair");
  FLOE_ASSERT_OK_AND_ASSIGN(const RepairReport report, RepairStore(layout_, clock_));
  EXPECT_EQ(report.kept, 3U);
  EXPECT_EQ(report.lost, 3U);
  const auto contents = Contents();
  EXPECT_TRUE(contents.contains("container 1") && !contents.contains("container 0"));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto aside, ListDirectory(report.aside));
  EXPECT_THAT(aside, ::testing::IsSupersetOf({"2", "3", "metadata.db"}));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto left, ListDirectory(layout_.snapshots()));
  EXPECT_THAT(left, UnorderedElementsAre("5", "6"));
}

// An unpacked layer without files, and a lazy one that nobody knows how to mount, would be empty
// directories in a container.
TEST_F(RepairTest, ASnapshotIsNeverHollow) {
  {
    const auto store = Open();
    FLOE_ASSERT_OK(store->CreateLazy("lazy", "", {}, SomeLayer("1")));
    FLOE_ASSERT_OK(store->CreateLazy("unreadable", "", {}, SomeLayer("2")));
    MakeLayer(*store, "layer");
    MakeLayer(*store, "without files");
  }
  Execute(
      "PRAGMA foreign_keys=OFF;"
      "DELETE FROM lazy_layers WHERE snapshot_id=1;"
      "UPDATE lazy_layers SET layer_digest='sha256:1' WHERE snapshot_id=2;"
      "INSERT INTO labels VALUES(77, 'of', 'nothing')");  // So that the store is refused.
  FLOE_ASSERT_OK(RemoveTree(layout_.snapshot(4)));
  FLOE_ASSERT_OK_AND_ASSIGN(const RepairReport report, RepairStore(layout_, clock_));
  EXPECT_EQ(report.kept, 1U);
  EXPECT_TRUE(Contents().contains("layer"));
}

// Every page in turn becomes rubbish. What is kept is as it was, and no chain has a gap.
TEST_F(RepairTest, AnyPageMayBeDamaged) {
  MakeSomeChains(60);
  const auto before = Contents();
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string sound, ReadFile(layout_.metadata()));
  const size_t pages = sound.size() / kPageBytes;
  ASSERT_GT(pages, 12U);
  size_t kept_at_all = 0;
  for (size_t page = 0; page < pages; ++page) {
    SCOPED_TRACE(page);
    FLOE_ASSERT_OK(WriteFileAtomically(layout_.metadata(), sound));
    Overwrite(page * kPageBytes, std::string(kPageBytes, static_cast<char>(0xa5)));
    for (uint64_t id = 1; id <= 180; ++id) {
      if (id % 3 != 1) {  // Those of the last round lie aside; lazy ones never have any.
        FLOE_ASSERT_OK(CreateDirectories(layout_.upper(id)));
      }
    }
    FLOE_ASSERT_OK_AND_ASSIGN(const RepairReport report, RepairStore(layout_, clock_));
    const auto after = Contents();
    EXPECT_EQ(report.kept, report.was_sound ? 0 : after.size());
    kept_at_all += after.empty() ? 0 : 1;
    for (const auto& [name, line] : after) {
      const auto was = before.find(name);
      ASSERT_NE(was, before.end()) << name;
      // A page of labels may be lost.
      const auto without_labels = [](std::string text) {
        return text.erase(text.rfind(' ', text.rfind(' ') - 1), 2);
      };
      EXPECT_EQ(without_labels(line), without_labels(was->second)) << name;
    }
  }
  // All but those of the schema, and of the roots of snapshots and lazy layers.
  EXPECT_GE(kept_at_all, pages - 3);
}

}  // namespace
}  // namespace floe::snapshotter
