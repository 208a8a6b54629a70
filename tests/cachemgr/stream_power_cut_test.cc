// A layer that is being streamed when its process is killed or the power goes: what is done to the
// disk is recorded and cut at every operation. What is taken for present is right at any moment,
// and after the first checkpoint it is all there.

#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "base/log.h"
#include "cachemgr/cache/blob_cache.h"
#include "cachemgr/stream/device_writer.h"
#include "cachemgr/stream/half_made_blob.h"
#include "image/blob_map.h"
#include "image/layer_indexer.h"
#include "tests/cachemgr/test_blob.h"
#include "tests/image/layer_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/disk_log.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::cachemgr::testing {
namespace {

using floe::testing::DiskLog;
using floe::testing::DiskState;

constexpr int kCutsOfEach = 20;

class StreamPowerCutTest : public ::testing::Test {
 protected:
  void SetUp() override {
    InitLogging("stream_power_cut", LogLevel::kError);
    image::TarArchive archive;
    archive.File("a", RandomBytes(50000, 1)).File("b", RandomBytes(700000, 2));
    archive.File("c", RandomBytes(9000, 3)).File("a", RandomBytes(600000, 4));
    blob_ = archive.File("d", "d").End().bytes();
    auto layer = image::IndexBlob(blob_, image::SourceOf(blob_));
    FLOE_ASSERT_OK(layer);
    map_ = image::EncodeBlobMap(layer->index, 0);
    FLOE_ASSERT_OK_AND_ASSIGN(device_, image::FillDevice(*layer, blob_));
    FLOE_ASSERT_OK(CreateDirectories(Directory()));
    FLOE_ASSERT_OK(CreateDirectories(Inodes()));
  }
  std::filesystem::path Directory() const { return root_ / "blob"; }
  std::filesystem::path Inodes() const { return root_ / "inodes"; }
  std::string key() const { return image::DeviceKey(map_); }

  // What LayerPass does to the directory, and then the maintenance thread.
  void Make() {
    FLOE_ASSERT_OK_AND_ASSIGN(made_, HalfMadeBlob::In(Directory()));
    DeviceWriter writer(made_->data_fd());
    FLOE_ASSERT_OK_AND_ASSIGN(
        const image::IndexedLayer layer,
        image::IndexBlob(blob_, image::SourceOf(blob_), {.contents = &writer}));
    FLOE_ASSERT_OK(writer.Finish(layer.placements, device_.size()));
    EXPECT_TRUE(writer.moved());
    FLOE_ASSERT_OK(made_->Seal(map_, key(), "boot-1", {}, [] { return false; }));
    FLOE_ASSERT_OK_AND_ASSIGN(const auto map, image::BlobMap::Open(Directory() / "map", key()));
    FLOE_ASSERT_OK_AND_ASSIGN(const auto cache, BlobCache::Open(Directory(), *map, "boot-1"));
    EXPECT_TRUE(cache->AllPresent());
    FLOE_ASSERT_OK(cache->Checkpoint());
    EXPECT_TRUE(cache->complete());
  }

  // Opens what is left as if the directory were a blob's. Returns whether it is complete, or has no
  // map, which is verified whenever it is read; what is present is right.
  bool Open(const DiskState& state, const std::string& boot_id, bool count_as_complete = false) {
    DiskLog::Restore(state, Directory(), Inodes());
    auto map = image::BlobMap::Open(Directory() / "map", key());
    if (!map) {
      return count_as_complete;
    }
    auto cache = BlobCache::Open(Directory(), **map, boot_id);
    EXPECT_TRUE(cache.has_value());
    if (!cache) {
      return false;
    }
    std::string device(device_.size(), '?');
    EXPECT_TRUE(PreadAll((*cache)->data_fd(), std::as_writable_bytes(std::span(device)), 0));
    for (uint32_t group = 0; group < (*map)->group_count(); ++group) {
      const image::GroupView view = (*map)->group(group);
      for (uint32_t n = 0; (*cache)->IsGroupPresent(group) && n < view.extent_count; ++n) {
        const image::ExtentView extent = (*map)->GroupExtent(view, n);
        EXPECT_EQ(device.compare(extent.device_offset, extent.length, device_, extent.device_offset,
                                 extent.length),
                  0);
      }
    }
    EXPECT_TRUE(!(*cache)->complete() || device == device_);
    return (*cache)->complete();
  }

  floe::testing::TempDir root_;
  std::string blob_, map_, device_;
  std::unique_ptr<HalfMadeBlob> made_;
  std::mt19937 random_{20261128};  // NOLINT(cert-msc51-cpp): the same in every run.
};

TEST_F(StreamPowerCutTest, APowerCutLeavesNoBlobOrTheRightOne) {
  DiskLog log(Directory(), Inodes(), {});
  ASSERT_NO_FATAL_FAILURE(Make());
  log.Stop();
  const size_t all = log.operations().size();
  ASSERT_GT(all, 10U);
  const auto keep = [&](unsigned percent) {
    return [this, percent] { return random_() % 100 < percent; };
  };
  for (size_t count = 0; count <= all; ++count) {
    EXPECT_TRUE(!Open(log.Killed(count), "boot-1") || count + 2 >= all) << count << " of " << all;
    for (unsigned i = 0; i < kCutsOfEach; ++i) {
      const bool complete = Open(log.PowerCut(count, keep(i * 100 / kCutsOfEach)), "boot-2",
                                 /*count_as_complete=*/true);
      EXPECT_TRUE(complete || count < all) << count << " of " << all;
    }
  }
}

TEST_F(StreamPowerCutTest, ADiskThatIgnoresSyncsIsFoundOut) {
  DiskLog log(Directory(), Inodes(), {});
  ASSERT_NO_FATAL_FAILURE(Make());
  log.Stop();
  int incomplete = 0;
  for (int i = 0; i < kCutsOfEach; ++i) {
    const DiskState state = log.PowerCut(
        log.operations().size(), [&] { return random_() % 2 == 0; }, /*syncs_count=*/false);
    DiskLog::Restore(state, Directory(), Inodes());
    incomplete += state.names.contains("complete") && state.names.contains("map") ? 0 : 1;
  }
  EXPECT_GT(incomplete, 0);
}

}  // namespace
}  // namespace floe::cachemgr::testing
