#include "prepare/mount_plan.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "base/file.h"
#include "image/blob_map.h"
#include "image/layer_indexer.h"
#include "tests/image/layer_support.h"
#include "tests/image/tar_support.h"
#include "tests/prepare/image_support.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::prepare {
namespace {

namespace fs = std::filesystem;

const fetcher::Repository kRepository{"registry.test", "app"};
const fetcher::Repository kMirror{"mirror.test:5000", "cache/app"};

PlanLayer LayerOf(const std::string& blob) {
  auto indexed = image::IndexBlob(blob, image::SourceOf(blob));
  EXPECT_TRUE(indexed.has_value()) << (indexed ? "" : indexed.error().ToString());
  PlanLayer layer;
  layer.index = std::make_shared<const image::LayerIndex>(std::move(indexed->index));
  layer.sources = {kRepository, kMirror};
  return layer;
}

class MountPlanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    layers_ = {LayerOf(GzipLayer("one", 20000, 1).blob), LayerOf(GzipLayer("two", 9000, 2).blob)};
  }

  Result<MountPlan> Write(erofs::WhiteoutForm form = erofs::WhiteoutForm::kApply) {
    return WriteMountPlan(layers_, form, plan_);
  }
  std::string PlanText() {
    auto text = ReadFile(plan_ / "plan.json");
    EXPECT_TRUE(text.has_value());
    return text ? *text : "";
  }
  // ReadMountPlan after a change of plan.json.
  Result<MountPlan> ReadWith(const std::string& what, const std::string& with) {
    std::string text = PlanText();
    const size_t at = text.find(what);
    EXPECT_NE(at, std::string::npos) << what;
    FLOE_RETURN_IF_ERROR(
        WriteFileAtomically(plan_ / "plan.json", std::string(text).replace(at, what.size(), with)));
    auto plan = ReadMountPlan(plan_);
    FLOE_RETURN_IF_ERROR(WriteFileAtomically(plan_ / "plan.json", text));
    return plan;
  }

  testing::TempDir temp_;
  const fs::path plan_ = temp_.path() / "plans" / "plan";
  std::vector<PlanLayer> layers_;
};

void ExpectSamePlan(const MountPlan& actual, const MountPlan& expected) {
  EXPECT_EQ(actual.bootstrap, expected.bootstrap);
  EXPECT_EQ(actual.bootstrap_digest, expected.bootstrap_digest);
  EXPECT_EQ(actual.inode_count, expected.inode_count);
  EXPECT_EQ(actual.unresolved_implied, expected.unresolved_implied);
  ASSERT_EQ(actual.devices.size(), expected.devices.size());
  for (size_t i = 0; i < actual.devices.size(); ++i) {
    EXPECT_EQ(actual.devices[i].key, expected.devices[i].key);
    EXPECT_EQ(actual.devices[i].blob_map, expected.devices[i].blob_map);
    EXPECT_EQ(actual.devices[i].sources, expected.devices[i].sources);
    EXPECT_EQ(actual.devices[i].windows, expected.devices[i].windows);
    EXPECT_EQ(actual.devices[i].prefetch.size(), expected.devices[i].prefetch.size());
  }
}

TEST_F(MountPlanTest, ReadsBackWhatItWrote) {
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan written, Write());
  EXPECT_EQ(written.inode_count, 4U);  // The root, data/ and a file of each layer.
  ASSERT_EQ(written.devices.size(), 2U);
  EXPECT_EQ(written.devices[0].sources, (std::vector{kRepository, kMirror}));
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan read, ReadMountPlan(plan_));
  ExpectSamePlan(read, written);
}

TEST_F(MountPlanTest, FilesAreWhatThePlanSays) {
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan plan, Write());
  FLOE_ASSERT_OK_AND_ASSIGN(std::string bootstrap, ReadFile(plan.bootstrap));
  EXPECT_EQ(Digest::Of(bootstrap), plan.bootstrap_digest);
  for (size_t i = 0; i < 2; ++i) {
    FLOE_ASSERT_OK_AND_ASSIGN(auto map,
                              image::BlobMap::Open(plan.devices[i].blob_map, plan.devices[i].key));
    EXPECT_EQ(map->blob_digest(), layers_[i].index->data().blobs[0].digest);
  }
}

// What a node made itself goes with the plan: windows, what to prefetch, how a layer became lazy.
TEST_F(MountPlanTest, KeepsWhatOnlyThisNodeKnows) {
  image::LayerIndexData data = layers_[0].index->data();
  data.blobs[0].windows_digest = Digest::Of("windows");
  data.blobs[0].windows_size_bytes = 7;
  data.prefetch = {{0, 1}};
  FLOE_ASSERT_OK_AND_ASSIGN(auto index, image::LayerIndex::Create(std::move(data)));
  layers_[0].index = std::make_shared<const image::LayerIndex>(std::move(index));
  layers_[0].windows_directory = temp_.path();
  layers_[0].note = LayerNote{"sha256:1", "soci", "bound", "nothing \"better\""};
  FLOE_ASSERT_OK(WriteFileAtomically(temp_.path() / Digest::Of("windows").hex(), "windows"));
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan written, Write());
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan read, ReadMountPlan(plan_));
  ExpectSamePlan(read, written);
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string windows, ReadFile(read.devices[0].windows));
  EXPECT_EQ(windows, "windows");
  EXPECT_TRUE(read.devices[1].windows.empty());
  ASSERT_EQ(read.devices[0].prefetch.size(), 1U);
  EXPECT_EQ(read.devices[0].prefetch[0].first_unit, 0U);
  EXPECT_EQ(read.devices[0].prefetch[0].unit_count, 1U);
  ASSERT_EQ(read.layers.size(), 1U);
  EXPECT_EQ(read.layers[0].reader, "soci");
  EXPECT_EQ(read.layers[0].why_not, "nothing \"better\"");
  FLOE_ASSERT_OK(RemoveFile(read.devices[0].windows));
  FLOE_EXPECT_ERROR(ReadMountPlan(plan_), ErrorCode::kDataLoss, "windows");
}

TEST_F(MountPlanTest, LayersThatShareABlobShareADevice) {
  layers_.push_back(layers_[0]);
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan plan, Write());
  EXPECT_EQ(plan.devices.size(), 2U);
}

TEST_F(MountPlanTest, OnlyBlobsThatAreStillVisibleBecomeDevices) {
  layers_[1] = LayerOf(GzipLayer("one", 9000, 3).blob);  // Hides the only file of the other.
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan plan, Write());
  ASSERT_EQ(plan.devices.size(), 1U);
  FLOE_ASSERT_OK_AND_ASSIGN(auto map,
                            image::BlobMap::Open(plan.devices[0].blob_map, plan.devices[0].key));
  EXPECT_EQ(map->blob_digest(), layers_[1].index->data().blobs[0].digest);
}

TEST_F(MountPlanTest, DirectoryWithoutPlanIsNotFound) {
  FLOE_EXPECT_ERROR(ReadMountPlan(plan_), ErrorCode::kNotFound, "plan.json");
  FLOE_ASSERT_OK(CreateDirectories(plan_));
  FLOE_ASSERT_OK(WriteFileAtomically(plan_ / "bootstrap.erofs", "half"));
  FLOE_EXPECT_ERROR(ReadMountPlan(plan_), ErrorCode::kNotFound, "plan.json");
}

TEST_F(MountPlanTest, PartialDirectoryIsOverwritten) {
  FLOE_ASSERT_OK(CreateDirectories(plan_));
  FLOE_ASSERT_OK(WriteFileAtomically(plan_ / "bootstrap.erofs", "half"));
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan written, Write());
  FLOE_ASSERT_OK_AND_ASSIGN(std::string bootstrap, ReadFile(written.bootstrap));
  EXPECT_EQ(Digest::Of(bootstrap), written.bootstrap_digest);
  FLOE_EXPECT_OK(ReadMountPlan(plan_));
}

TEST_F(MountPlanTest, NewPlanTakesThePlaceOfAnOldOne) {
  FLOE_ASSERT_OK(Write());
  layers_.pop_back();
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan written, Write());
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan read, ReadMountPlan(plan_));
  ExpectSamePlan(read, written);
  EXPECT_EQ(read.devices.size(), 1U);
}

TEST_F(MountPlanTest, RewriteThatFailsLeavesNoValidPlan) {
  FLOE_ASSERT_OK(Write());
  // A directory stands where the bootstrap has to go: the rename fails after the invalidation.
  FLOE_ASSERT_OK(RemoveFile(plan_ / "bootstrap.erofs"));
  FLOE_ASSERT_OK(CreateDirectories(plan_ / "bootstrap.erofs" / "x"));
  EXPECT_FALSE(Write().has_value());
  FLOE_EXPECT_ERROR(ReadMountPlan(plan_), ErrorCode::kNotFound, "plan.json");
}

TEST_F(MountPlanTest, EqualInputGivesEqualFiles) {
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan first, Write());
  const std::string text = PlanText();
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan second, Write());
  EXPECT_EQ(first.bootstrap_digest, second.bootstrap_digest);
  EXPECT_EQ(PlanText(), text);
}

TEST_F(MountPlanTest, ImpliedDirectoriesKeepNamesOfAnyBytes) {
  image::TarArchive tar;
  const std::string odd = "a\xff%\n\"b";
  tar.File("plain/file", "1").File(odd + "/file", "2").End();
  layers_ = {LayerOf(tar.bytes())};
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan written, Write(erofs::WhiteoutForm::kOverlay));
  EXPECT_THAT(written.unresolved_implied, ::testing::UnorderedElementsAre("plain", odd));
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan read, ReadMountPlan(plan_));
  ExpectSamePlan(read, written);
}

TEST_F(MountPlanTest, PlanThatIsNotExactlyOneIsDataLoss) {
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan written, Write());
  const std::string key = written.devices[0].key;
  const std::string digest = written.bootstrap_digest.ToString();
  const std::vector<std::pair<std::string, std::string>> changes = {
      {"{", "["},
      {"\"version\":2", "\"version\":1"},
      {"\"version\":2", "\"version\":\"2\""},
      {"\"version\":2", "\"version\":2,\"more\":1"},
      {"\"inodes\":4", "\"inodes\":-4"},
      {"\"inodes\":4", "\"inodes\":4.5"},
      {digest, "sha256:12"},
      {key, "../" + key.substr(3)},
      {key, key.substr(1)},
      {"\"registry\"", "\"Registry\""},
      {"\"registry.test\"", "7"},
      {"\"windows\":false", "\"windows\":0"},
      {"\"prefetch\":[]", "\"prefetch\":[[1]]"},
      {"\"prefetch\":[]", "\"prefetch\":[[1,4294967296]]"},
      {"\"layers\":[]", "\"layers\":[{\"digest\":\"\"}]"},
      {"\"unresolved_implied\":[]", "\"unresolved_implied\":{}"},
      {"\"unresolved_implied\":[]", "\"unresolved_implied\":[1]"},
      {"\"unresolved_implied\":[]", "\"unresolved_implied\":[\"a%g0\"]"},
      {"\"unresolved_implied\":[]", "\"unresolved_implied\":[\"a%4\"]"},
  };
  for (const auto& [what, with] : changes) {
    SCOPED_TRACE(what + " -> " + with);
    FLOE_EXPECT_ERROR(ReadWith(what, with), ErrorCode::kDataLoss, "plan.json");
  }
  FLOE_EXPECT_OK(ReadMountPlan(plan_));
}

TEST_F(MountPlanTest, PlanWhoseFilesAreGoneIsDataLoss) {
  FLOE_ASSERT_OK_AND_ASSIGN(MountPlan written, Write());
  FLOE_ASSERT_OK(RemoveFile(written.devices[1].blob_map));
  FLOE_EXPECT_ERROR(ReadMountPlan(plan_), ErrorCode::kDataLoss, written.devices[1].key);
}

}  // namespace
}  // namespace floe::prepare
