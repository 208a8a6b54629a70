#include "prepare/index_store.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::prepare {
namespace {

const Digest kLayer = Digest::Of("layer");

class IndexStoreTest : public ::testing::Test {
 protected:
  std::filesystem::path File(const std::string& suffix) {
    return temp_.path() / "local" / (kLayer.hex() + suffix);
  }

  testing::TempDir temp_;
  const IndexStore store_{temp_.path()};
};

TEST_F(IndexStoreTest, GivesBackWhatItWasGiven) {
  const StoredTree tree{"bytes", Digest::Of("artifact"), ArtifactObject{Digest::Of("w"), 5}};
  EXPECT_FALSE(store_.Has("local", kLayer));
  FLOE_ASSERT_OK(store_.Put("local", kLayer, tree));
  EXPECT_TRUE(store_.Has("local", kLayer));
  FLOE_ASSERT_OK_AND_ASSIGN(StoredTree read, store_.Get("local", kLayer));
  EXPECT_EQ(read.bytes, tree.bytes);
  EXPECT_EQ(read.index_manifest, tree.index_manifest);
  ASSERT_TRUE(read.windows.has_value());
  EXPECT_EQ(read.windows->digest, tree.windows->digest);
  EXPECT_EQ(read.windows->size_bytes, tree.windows->size_bytes);
}

TEST_F(IndexStoreTest, KeepsScopesApart) {
  FLOE_ASSERT_OK(store_.Put("local", kLayer, {"bytes", {}, std::nullopt}));
  const std::string other = IndexStore::RepositoryScope({"registry.test", "app"});
  FLOE_EXPECT_ERROR(store_.Get(other, kLayer), ErrorCode::kNotFound, kLayer.ToString());
  EXPECT_NE(other, IndexStore::RepositoryScope({"registry.test", "app2"}));
}

TEST_F(IndexStoreTest, TreeThatIsNotTheRecordedOneIsAMiss) {
  FLOE_ASSERT_OK(store_.Put("local", kLayer, {"bytes", {}, std::nullopt}));
  FLOE_ASSERT_OK(WriteFileAtomically(File(".tree"), "other"));
  FLOE_EXPECT_ERROR(store_.Get("local", kLayer), ErrorCode::kNotFound, kLayer.ToString());
  FLOE_ASSERT_OK(store_.Put("local", kLayer, {"bytes", {}, std::nullopt}));
  FLOE_EXPECT_OK(store_.Get("local", kLayer));
}

TEST_F(IndexStoreTest, TreeWithoutRecordIsAMiss) {
  FLOE_ASSERT_OK(store_.Put("local", kLayer, {"bytes", {}, std::nullopt}));
  FLOE_ASSERT_OK(RemoveFile(File(".json")));
  EXPECT_FALSE(store_.Has("local", kLayer));
  FLOE_EXPECT_ERROR(store_.Get("local", kLayer), ErrorCode::kNotFound, "");
}

TEST_F(IndexStoreTest, RecordThatIsNoneIsAMiss) {
  FLOE_ASSERT_OK(store_.Put("local", kLayer, {"bytes", {}, std::nullopt}));
  const std::string tree = R"({"tree":")" + Digest::Of("bytes").ToString() + "\"";
  for (const std::string& record :
       {std::string(), std::string("[]"), std::string("{}"), std::string(R"({"tree":7})"),
        tree + R"(,"windows":[]})", tree + R"(,"windows":{"size":-1}})",
        tree + R"(,"index_manifest":"x"})"}) {
    SCOPED_TRACE(record);
    FLOE_ASSERT_OK(WriteFileAtomically(File(".json"), record));
    FLOE_EXPECT_ERROR(store_.Get("local", kLayer), ErrorCode::kNotFound, "");
  }
  FLOE_ASSERT_OK(WriteFileAtomically(File(".json"), tree + "}"));
  FLOE_EXPECT_OK(store_.Get("local", kLayer));
}

}  // namespace
}  // namespace floe::prepare
