#include "snapshotter/repair.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "snapshotter/remote.h"
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

std::string LazyName(const std::string& name) {
  return LazySnapshotName(SomeLayer(name).chain_id, "");
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
      FLOE_ASSERT_OK(store->CreateLazy(LazyName(n), "", {{"of", n}}, SomeLayer(n)));
      MakeLayer(*store, "layer " + n, LazyName(n));
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
  // Their number, in a line of Contents: labels may be lost alone.
  static std::string WithoutLabels(std::string line) {
    return line.erase(line.rfind(' ', line.rfind(' ') - 1), 2);
  }
  // Of MakeSomeChains again: those of a former repair lie aside. Lazy snapshots never have any.
  void MakeDirectories(uint64_t chains) {
    for (uint64_t id = 1; id <= 3 * chains; ++id) {
      if (id % 3 != 1) {
        FLOE_ASSERT_OK(CreateDirectories(layout_.upper(id)));
      }
    }
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
  Execute("PRAGMA foreign_keys=OFF; DELETE FROM snapshots WHERE id=1");
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
    FLOE_ASSERT_OK(store->CreateLazy(LazyName("1"), "", {}, SomeLayer("1")));
    FLOE_ASSERT_OK(store->CreateLazy(LazyName("2"), "", {}, SomeLayer("2")));
    MakeLayer(*store, "layer");
    MakeLayer(*store, "without files");
    FLOE_ASSERT_OK(store->CreateLazy(LazyName("3"), "", {}, SomeLayer("4")));
  }
  Execute(
      "DELETE FROM lazy_layers WHERE snapshot_id=1;"
      "UPDATE lazy_layers SET layer_digest='sha256:1' WHERE snapshot_id=2");
  FLOE_ASSERT_OK(RemoveTree(layout_.snapshot(4)));
  FLOE_EXPECT_ERROR(OpenRootStore(layout_, clock_), ErrorCode::kDataLoss, "not a sha256 digest");
  FLOE_ASSERT_OK_AND_ASSIGN(const RepairReport report, RepairStore(layout_, clock_));
  EXPECT_EQ(report.kept, 1U);
  EXPECT_TRUE(Contents().contains("layer"));
}

// What the indexes contradict, and what the tables' own rules forbid, is lost, and nothing else.
TEST_F(RepairTest, RowsThatCannotBeTrueAreLost) {
  MakeSomeChains(6);
  const auto before = Contents();
  Execute("PRAGMA ignore_check_constraints=ON; UPDATE snapshots SET kind=9 WHERE id=4");
  Execute("PRAGMA foreign_keys=OFF; INSERT INTO labels VALUES(77, 'of', 'nothing')");
  // Without its index, which then still has the former parent.
  Execute("PRAGMA writable_schema=ON; DELETE FROM sqlite_master WHERE name='snapshots_by_parent'");
  Execute("UPDATE snapshots SET parent_id=14 WHERE id=18");
  Execute(
      "PRAGMA writable_schema=ON; INSERT INTO sqlite_master(type, name, tbl_name, rootpage, sql)"
      " VALUES('index', 'snapshots_by_parent', 'snapshots', 5,"
      " 'CREATE INDEX snapshots_by_parent ON snapshots(parent_id)')");
  FLOE_EXPECT_ERROR(OpenRootStore(layout_, clock_), ErrorCode::kDataLoss, "--repair");
  FLOE_ASSERT_OK_AND_ASSIGN(const RepairReport report, RepairStore(layout_, clock_));
  auto expected = before;
  expected.erase(LazyName("1"));
  expected.erase("layer 1");
  expected.erase("container 1");
  expected.erase("container 5");
  EXPECT_EQ(Contents(), expected);
  EXPECT_EQ(report.lost, 4U);
}

TEST_F(RepairTest, TheLogOfAGoneStoreIsPutAside) {
  MakeSomeChains(1);
  const fs::path log = layout_.metadata().native() + "-wal";
  std::string bytes;
  {
    const auto store = Open();
    FLOE_ASSERT_OK(Create(*store, Kind::kActive, "in the log"));
    FLOE_ASSERT_OK_AND_ASSIGN(bytes, ReadFile(log));
  }
  ASSERT_GT(bytes.size(), kPageBytes);
  FLOE_ASSERT_OK(WriteFileAtomically(log, bytes));
  FLOE_ASSERT_OK(RemoveFile(layout_.metadata()));
  FLOE_EXPECT_ERROR(OpenRootStore(layout_, clock_), ErrorCode::kDataLoss, "gone");
  FLOE_ASSERT_OK_AND_ASSIGN(const RepairReport report, RepairStore(layout_, clock_));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string kept, ReadFile(report.aside / log.filename()));
  EXPECT_EQ(kept, bytes);
  EXPECT_FALSE(fs::exists(log));
}

// As after an old copy was put back. Its newer files would be taken for garbage.
TEST_F(RepairTest, AStoreThatIsOlderThanItsFilesIsRefused) {
  MakeSomeChains(1);
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string old, ReadFile(layout_.metadata()));
  {
    const auto store = Open();
    FLOE_ASSERT_OK(Create(*store, Kind::kActive, "newer"));
    FLOE_ASSERT_OK(Create(*store, Kind::kActive, "newest"));
  }
  FLOE_ASSERT_OK(WriteFileAtomically(layout_.metadata(), old));
  FLOE_EXPECT_ERROR(OpenRootStore(layout_, clock_), ErrorCode::kDataLoss, "older than its files");
  FLOE_ASSERT_OK_AND_ASSIGN(const RepairReport report, RepairStore(layout_, clock_));
  EXPECT_EQ(report.kept, 3U);
  EXPECT_TRUE(fs::exists(report.aside / "5" / "fs"));
  FLOE_ASSERT_OK_AND_ASSIGN(const uint64_t id, Create(*Open(), Kind::kActive, "new"));
  EXPECT_GT(id, 5U);
}

// An upgrade from before the file `instance` existed.
TEST_F(RepairTest, FilesAloneSayThatThereWasAStore) {
  MakeSomeChains(1);
  FLOE_ASSERT_OK(RemoveFile(layout_.instance()));
  EXPECT_EQ(Contents().size(), 3U);
  EXPECT_TRUE(fs::exists(layout_.instance()));
  FLOE_ASSERT_OK(RemoveFile(layout_.instance()));
  FLOE_ASSERT_OK(RemoveFile(layout_.metadata()));
  FLOE_EXPECT_ERROR(OpenRootStore(layout_, clock_), ErrorCode::kDataLoss, "gone");
}

// A single bit. What a repair keeps is never what it was not.
TEST_F(RepairTest, AnyBitMayBeWrong) {
  MakeSomeChains(60);
  const auto before = Contents();
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string sound, ReadFile(layout_.metadata()));
  std::mt19937 random(5);
  int repaired = 0;
  for (int i = 0; i < 150; ++i) {
    const size_t offset = random() % sound.size();
    std::string damaged = sound;
    damaged[offset] = static_cast<char>(damaged[offset] ^ (1U << (random() % 8)));
    SCOPED_TRACE(offset);
    FLOE_ASSERT_OK(WriteFileAtomically(layout_.metadata(), damaged));
    MakeDirectories(60);
    auto report = RepairStore(layout_, clock_);
    if (!report && report.error().code == ErrorCode::kFailedPrecondition) {
      continue;  // The bit made it a newer version's.
    }
    FLOE_ASSERT_OK(report);
    if (report->was_sound) {
      continue;  // Nobody can tell.
    }
    ++repaired;
    for (const auto& [name, line] : Contents()) {
      const auto was = before.find(name);
      ASSERT_NE(was, before.end()) << name;
      EXPECT_EQ(WithoutLabels(line), WithoutLabels(was->second)) << name;
    }
  }
  EXPECT_GT(repaired, 10);
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
    MakeDirectories(60);
    FLOE_ASSERT_OK_AND_ASSIGN(const RepairReport report, RepairStore(layout_, clock_));
    const auto after = Contents();
    EXPECT_EQ(report.kept, report.was_sound ? 0 : after.size());
    kept_at_all += after.empty() ? 0 : 1;
    for (const auto& [name, line] : after) {
      const auto was = before.find(name);
      ASSERT_NE(was, before.end()) << name;
      EXPECT_EQ(WithoutLabels(line), WithoutLabels(was->second)) << name;
    }
  }
  // All but those of the schema, and of the roots of snapshots and lazy layers.
  EXPECT_GE(kept_at_all, pages - 3);
}

}  // namespace
}  // namespace floe::snapshotter
