#include "snapshotter/store/metastore.h"

#include <fcntl.h>

#include <gtest/gtest.h>

#include "snapshotter/labels.h"
#include "snapshotter/store/schema.h"
#include "snapshotter/store/sqlite.h"
#include "tests/support/fake_clock.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::snapshotter {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class MetaStoreTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }

  void Reopen() {
    store_.reset();
    FLOE_ASSERT_OK_AND_ASSIGN(store_, MetaStore::Open(path_, clock_));
  }

  Result<uint64_t> Create(Kind kind, const std::string& name, const std::string& parent = "",
                          const Labels& labels = {}) {
    return store_->Create(kind, name, parent, labels, [](uint64_t) { return Ok(); });
  }

  void MakeCommitted(const std::string& name, const std::string& parent = "") {
    FLOE_ASSERT_OK(Create(Kind::kActive, "active " + name, parent));
    FLOE_ASSERT_OK(store_->Commit("active " + name, name, {}, ""));
  }

  static LazyLayer SomeLayer(const std::string& name) {
    return {.chain_id = Digest::Of("chain " + name),
            .layer_digest = Digest::Of("layer " + name),
            .manifest_digest = Digest::Of("manifest"),
            .image_ref = "registry.test/app:1",
            .position = 3,
            .index_scope = "repository-x"};
  }

  std::vector<std::string> Names() {
    auto infos = store_->List();
    std::vector<std::string> names;
    for (const Info& info : infos.value()) {
      names.push_back(info.name);
    }
    return names;
  }

  testing::TempDir directory_;
  testing::FakeClock clock_;
  const std::filesystem::path path_ = directory_ / "metadata.db";
  std::unique_ptr<MetaStore> store_;
};

TEST_F(MetaStoreTest, CreatedSnapshotIsThereAfterReopening) {
  FLOE_ASSERT_OK(Create(Kind::kActive, "a", "", {{"k", "v"}, {"empty", ""}}));
  const std::string instance = store_->instance();
  Reopen();
  FLOE_ASSERT_OK_AND_ASSIGN(const Snapshot snapshot, store_->Get("a"));
  EXPECT_EQ(snapshot.info.kind, Kind::kActive);
  EXPECT_EQ(snapshot.info.parent, "");
  EXPECT_EQ(snapshot.info.labels, (Labels{{"k", "v"}}));
  EXPECT_EQ(snapshot.info.created, clock_.WallNow());
  EXPECT_EQ(snapshot.info.updated, clock_.WallNow());
  EXPECT_EQ(snapshot.usage, std::nullopt);
  EXPECT_EQ(store_->instance(), instance);
  EXPECT_EQ(instance.size(), 8U);
}

TEST_F(MetaStoreTest, MissingSnapshotIsNotFound) {
  FLOE_EXPECT_ERROR(store_->Get("a"), ErrorCode::kNotFound, "a does not exist");
  FLOE_EXPECT_ERROR(store_->Remove("a"), ErrorCode::kNotFound, "a does not exist");
  FLOE_EXPECT_ERROR(store_->Update("a", {}, {}), ErrorCode::kNotFound, "a does not exist");
  FLOE_EXPECT_ERROR(store_->Commit("a", "b", {}, ""), ErrorCode::kNotFound, "a does not exist");
}

TEST_F(MetaStoreTest, CreateRefusesATakenName) {
  FLOE_ASSERT_OK(Create(Kind::kActive, "a"));
  FLOE_EXPECT_ERROR(Create(Kind::kView, "a"), ErrorCode::kAlreadyExists, "a already exists");
}

TEST_F(MetaStoreTest, CreateRefusesAMissingParent) {
  FLOE_EXPECT_ERROR(Create(Kind::kActive, "a", "p"), ErrorCode::kNotFound, "parent p");
}

TEST_F(MetaStoreTest, CreateRefusesAnActiveParent) {
  FLOE_ASSERT_OK(Create(Kind::kActive, "p"));
  FLOE_EXPECT_ERROR(Create(Kind::kActive, "a", "p"), ErrorCode::kInvalidArgument,
                    "p is not committed");
}

TEST_F(MetaStoreTest, FailureBeforeCommitLeavesNoSnapshot) {
  FLOE_EXPECT_ERROR(store_->Create(Kind::kActive, "a", "", {{"k", "v"}},
                                   [](uint64_t) { return Result<void>(Internal("disk")); }),
                    ErrorCode::kInternal, "disk");
  FLOE_EXPECT_ERROR(store_->Get("a"), ErrorCode::kNotFound, "");
  FLOE_EXPECT_OK(Create(Kind::kActive, "a"));
}

TEST_F(MetaStoreTest, IdsAreNeverUsedAgain) {
  FLOE_ASSERT_OK_AND_ASSIGN(const uint64_t first, Create(Kind::kActive, "a"));
  FLOE_ASSERT_OK(store_->Remove("a"));
  Reopen();
  FLOE_ASSERT_OK_AND_ASSIGN(const uint64_t second, Create(Kind::kActive, "a"));
  EXPECT_GT(second, first);
}

TEST_F(MetaStoreTest, CommitRenamesAndForgetsTheActiveLabels) {
  FLOE_ASSERT_OK_AND_ASSIGN(const uint64_t id, Create(Kind::kActive, "a", "", {{"active", "yes"}}));
  clock_.Advance(std::chrono::seconds(5));
  FLOE_ASSERT_OK(store_->Commit("a", "c", {{"committed", "yes"}}, ""));
  FLOE_EXPECT_ERROR(store_->Get("a"), ErrorCode::kNotFound, "");
  FLOE_ASSERT_OK_AND_ASSIGN(const Snapshot snapshot, store_->Get("c"));
  EXPECT_EQ(snapshot.id, id);
  EXPECT_EQ(snapshot.info.kind, Kind::kCommitted);
  EXPECT_EQ(snapshot.info.labels, (Labels{{"committed", "yes"}}));
  EXPECT_EQ(snapshot.info.created, clock_.WallNow());
  EXPECT_EQ(snapshot.info.updated, clock_.WallNow());
}

TEST_F(MetaStoreTest, CommitRefusesATakenName) {
  MakeCommitted("c");
  FLOE_ASSERT_OK(Create(Kind::kActive, "a"));
  FLOE_EXPECT_ERROR(store_->Commit("a", "c", {}, ""), ErrorCode::kAlreadyExists, "c already");
  FLOE_EXPECT_ERROR(store_->Commit("missing", "c", {}, ""), ErrorCode::kAlreadyExists, "c already");
}

TEST_F(MetaStoreTest, CommitRefusesWhatIsNotActive) {
  MakeCommitted("c");
  FLOE_ASSERT_OK(Create(Kind::kView, "v", "c"));
  FLOE_EXPECT_ERROR(store_->Commit("v", "n", {}, ""), ErrorCode::kFailedPrecondition,
                    "v is not active");
  FLOE_EXPECT_ERROR(store_->Commit("c", "n", {}, ""), ErrorCode::kFailedPrecondition,
                    "c is not active");
}

TEST_F(MetaStoreTest, CommitGivesAParentToASnapshotWithoutOne) {
  MakeCommitted("p");
  FLOE_ASSERT_OK(Create(Kind::kActive, "a"));
  FLOE_ASSERT_OK(store_->Commit("a", "c", {}, "p"));
  FLOE_ASSERT_OK_AND_ASSIGN(const Snapshot snapshot, store_->Get("c"));
  EXPECT_EQ(snapshot.info.parent, "p");
}

TEST_F(MetaStoreTest, CommitChecksTheParentItIsGiven) {
  MakeCommitted("p");
  MakeCommitted("q");
  FLOE_ASSERT_OK(Create(Kind::kActive, "a", "p"));
  FLOE_ASSERT_OK(Create(Kind::kActive, "b"));
  FLOE_EXPECT_ERROR(store_->Commit("a", "c", {}, "q"), ErrorCode::kInvalidArgument,
                    "has the parent p, not q");
  FLOE_EXPECT_ERROR(store_->Commit("b", "c", {}, "missing"), ErrorCode::kNotFound, "missing");
  FLOE_EXPECT_ERROR(store_->Commit("b", "c", {}, "a"), ErrorCode::kFailedPrecondition,
                    "a is not committed");
  FLOE_EXPECT_OK(store_->Commit("a", "c", {}, "p"));
}

TEST_F(MetaStoreTest, ParentIsRemovedOnlyAfterItsChildren) {
  MakeCommitted("p");
  FLOE_ASSERT_OK(Create(Kind::kActive, "a", "p"));
  FLOE_EXPECT_ERROR(store_->Remove("p"), ErrorCode::kFailedPrecondition, "cannot remove");
  FLOE_ASSERT_OK(store_->Remove("a"));
  FLOE_ASSERT_OK(store_->Remove("p"));
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(MetaStoreTest, UpdateWithoutMaskReplacesLabels) {
  FLOE_ASSERT_OK(Create(Kind::kActive, "a", "", {{"x", "1"}, {"y", "2"}}));
  const auto created = clock_.WallNow();
  clock_.Advance(std::chrono::seconds(1));
  FLOE_ASSERT_OK_AND_ASSIGN(const Info info, store_->Update("a", {{"y", "3"}, {"z", ""}}, {}));
  EXPECT_EQ(info.labels, (Labels{{"y", "3"}}));
  EXPECT_EQ(info.created, created);
  EXPECT_EQ(info.updated, clock_.WallNow());
  FLOE_ASSERT_OK_AND_ASSIGN(const Snapshot stored, store_->Get("a"));
  EXPECT_EQ(stored.info.labels, info.labels);
  EXPECT_EQ(stored.info.updated, info.updated);
}

TEST_F(MetaStoreTest, UpdateWithMaskTouchesTheNamedLabels) {
  FLOE_ASSERT_OK(Create(Kind::kActive, "a", "", {{"keep", "1"}, {"a.b", "2"}, {"drop", "3"}}));
  FLOE_ASSERT_OK_AND_ASSIGN(const Info info,
                            store_->Update("a", {{"a.b", "new"}, {"drop", ""}, {"other", "no"}},
                                           {"labels.a.b", "labels.drop", "labels.absent"}));
  EXPECT_EQ(info.labels, (Labels{{"keep", "1"}, {"a.b", "new"}}));
  FLOE_ASSERT_OK_AND_ASSIGN(const Info all, store_->Update("a", {{"only", "1"}}, {"labels"}));
  EXPECT_EQ(all.labels, (Labels{{"only", "1"}}));
}

TEST_F(MetaStoreTest, UpdateRefusesOtherFieldsAndChangesNothing) {
  FLOE_ASSERT_OK(Create(Kind::kActive, "a", "", {{"x", "1"}}));
  for (const std::string path : {"parent", "name", "kind", "labels.", "labelsx", ""}) {
    FLOE_EXPECT_ERROR(store_->Update("a", {}, {"labels", path}), ErrorCode::kInvalidArgument,
                      "cannot update");
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const Snapshot snapshot, store_->Get("a"));
  EXPECT_EQ(snapshot.info.labels, (Labels{{"x", "1"}}));
}

TEST_F(MetaStoreTest, ChainGoesFromTheTopDown) {
  MakeCommitted("bottom");
  FLOE_ASSERT_OK(store_->CreateLazy("middle", "bottom", {{"l", "v"}}, SomeLayer("middle")));
  MakeCommitted("top", "middle");
  FLOE_ASSERT_OK_AND_ASSIGN(const Chain chain, store_->GetChain("top"));
  ASSERT_EQ(chain.size(), 3U);
  EXPECT_EQ(chain[0].lazy, std::nullopt);
  EXPECT_EQ(chain[1].lazy, SomeLayer("middle"));
  EXPECT_EQ(chain[2].lazy, std::nullopt);
  FLOE_ASSERT_OK_AND_ASSIGN(const Snapshot middle, store_->Get("middle"));
  EXPECT_EQ(middle.id, chain[1].id);
  EXPECT_EQ(middle.lazy, SomeLayer("middle"));
  EXPECT_EQ(middle.info.kind, Kind::kCommitted);
  EXPECT_EQ(middle.info.labels, (Labels{{"l", "v"}}));
  FLOE_ASSERT_OK_AND_ASSIGN(const Chain none, store_->GetChain(""));
  EXPECT_THAT(none, IsEmpty());
}

TEST_F(MetaStoreTest, ChainNeedsACommittedSnapshot) {
  FLOE_ASSERT_OK(Create(Kind::kActive, "a"));
  FLOE_EXPECT_ERROR(store_->GetChain("a"), ErrorCode::kInvalidArgument, "not committed");
  FLOE_EXPECT_ERROR(store_->GetChain("b"), ErrorCode::kNotFound, "b does not exist");
}

TEST_F(MetaStoreTest, SecondLazySnapshotOfANameIsRefused) {
  FLOE_ASSERT_OK(store_->CreateLazy("l", "", {}, SomeLayer("l")));
  FLOE_EXPECT_ERROR(store_->CreateLazy("l", "", {}, SomeLayer("l")), ErrorCode::kAlreadyExists, "");
  FLOE_ASSERT_OK(store_->Remove("l"));
  FLOE_EXPECT_OK(store_->CreateLazy("l", "", {}, SomeLayer("l")));
}

TEST_F(MetaStoreTest, ListShowsEverythingInOrder) {
  MakeCommitted("c");
  FLOE_ASSERT_OK(Create(Kind::kView, "v", "c", {{"k", "v"}}));
  EXPECT_THAT(Names(), ElementsAre("c", "v"));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::vector<Info> infos, store_->List());
  EXPECT_EQ(infos[1].parent, "c");
  EXPECT_EQ(infos[1].labels, (Labels{{"k", "v"}}));
  EXPECT_THAT(infos[0].labels, IsEmpty());
}

TEST_F(MetaStoreTest, UsageIsKept) {
  FLOE_ASSERT_OK_AND_ASSIGN(const uint64_t id, Create(Kind::kActive, "a"));
  FLOE_ASSERT_OK(store_->SetUsage(id, {.size_bytes = 4096, .inodes = 2}));
  FLOE_ASSERT_OK_AND_ASSIGN(const Snapshot snapshot, store_->Get("a"));
  EXPECT_EQ(snapshot.usage, (Usage{.size_bytes = 4096, .inodes = 2}));
}

TEST_F(MetaStoreTest, DamagedFileIsDataLoss) {
  for (int i = 0; i < 200; ++i) {
    MakeCommitted("snapshot with a rather long name, to fill some pages " + std::to_string(i));
  }
  store_.reset();
  FLOE_ASSERT_OK_AND_ASSIGN(const UniqueFd file, OpenFile(path_, O_RDWR));
  const std::vector<std::byte> noise(8192, std::byte{0xa5});
  FLOE_ASSERT_OK(PwriteAll(file.get(), noise, 12288));
  FLOE_EXPECT_ERROR(MetaStore::Open(path_, clock_), ErrorCode::kDataLoss, "metadata.db");
}

TEST_F(MetaStoreTest, WhatIsNoDatabaseIsDataLoss) {
  store_.reset();
  const auto other = directory_ / "other.db";
  FLOE_ASSERT_OK(WriteFileAtomically(other, std::string(8192, 'x')));
  FLOE_EXPECT_ERROR(MetaStore::Open(other, clock_), ErrorCode::kDataLoss, "not a database");
}

TEST_F(MetaStoreTest, NewerSchemaIsRefused) {
  store_.reset();
  {
    FLOE_ASSERT_OK_AND_ASSIGN(const auto database, Database::Open(path_));
    FLOE_ASSERT_OK(database->Execute("PRAGMA user_version=" + std::to_string(kSchemaVersion + 1)));
  }
  FLOE_EXPECT_ERROR(MetaStore::Open(path_, clock_), ErrorCode::kFailedPrecondition,
                    "schema version 2");
}

TEST_F(MetaStoreTest, UncommittedTransactionIsGoneAfterReopening) {
  store_.reset();
  {
    // What kill -9 between INSERT and COMMIT leaves behind.
    FLOE_ASSERT_OK_AND_ASSIGN(const auto database, Database::Open(path_));
    FLOE_ASSERT_OK(database->Execute("BEGIN IMMEDIATE"));
    FLOE_ASSERT_OK(database->Execute(
        "INSERT INTO snapshots(name, kind, created_ns, updated_ns) VALUES('a', 2, 0, 0)"));
  }
  Reopen();
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(MetaStoreTest, LabelLimitIsContainerds) {
  const std::string key = "containerd.io/snapshot/k";
  FLOE_EXPECT_OK(CheckLabels({{key, std::string(kMaxLabelBytes - key.size(), 'v')}}));
  FLOE_EXPECT_ERROR(CheckLabels({{key, std::string(kMaxLabelBytes - key.size() + 1, 'v')}}),
                    ErrorCode::kInvalidArgument, key);
  FLOE_EXPECT_ERROR(CheckLabels({{"two\nlines", std::string(kMaxLabelBytes, 'v')}}),
                    ErrorCode::kInvalidArgument, "'two\\x0alines'");
}

}  // namespace
}  // namespace floe::snapshotter
