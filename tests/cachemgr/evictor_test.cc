#include "cachemgr/cache/evictor.h"

#include <fcntl.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <vector>

#include "tests/cachemgr/fill_fixture.h"

namespace floe::cachemgr::testing {
namespace {

using ::testing::UnorderedElementsAre;

class EvictorTest : public FillTest {
 protected:
  void SetUp() override {
    Start(TestBlob::Make({}));  // For its filler; the blobs of the test are in a store.
    store_ = std::make_unique<BlobStore>(Blobs(), "boot-1", *filler_, counters_);
    for (const uint32_t seed : {1U, 2U, 3U}) {
      const TestBlob blob = TestBlob::Make({.file_bytes = {kFileBytes}, .seed = seed});
      const std::filesystem::path map = directory_ / ("map" + std::to_string(seed));
      FLOE_ASSERT_OK(WriteFileAtomically(map, blob.map));
      requests_.push_back({.key = blob.key, .blob_map = map});
      FLOE_ASSERT_OK_AND_ASSIGN(const auto opened, store_->Acquire(requests_.back()));
      FLOE_ASSERT_OK(
          PwriteAll(opened->cache().data_fd(), std::as_bytes(std::span(blob.device)), 0));
      // The first is the one that was used last.
      std::filesystem::last_write_time(
          Blobs() / blob.key / "map",
          std::filesystem::file_time_type::clock::now() - std::chrono::hours(seed));
    }
  }
  std::filesystem::path Blobs() const { return directory_ / "blobs"; }
  const std::string& Key(size_t i) const { return requests_[i].key; }
  std::set<std::string> Left() const {
    std::set<std::string> keys;
    for (const StoredBlob& blob : store_->Stored()) {
      keys.insert(blob.key);
    }
    return keys;
  }
  Evictor Make(const CacheLimits& limits) {
    return Evictor({.limits = limits,
                    .directory = Blobs(),
                    .in_use = [this] { return in_use_; },
                    .disk_space = [this](const auto&) -> Result<DiskSpace> { return space_; }},
                   *store_, clock_);
  }

  static constexpr uint64_t kFileBytes = 100000;
  static constexpr uint64_t kRoomForTwo = 250000;
  std::unique_ptr<BlobStore> store_;
  std::vector<DeviceRequest> requests_;
  std::set<std::string> in_use_;
  DiskSpace space_{.total_bytes = 1000000, .free_bytes = 1000000};
};

TEST_F(EvictorTest, InsideItsLimitsNothingGoes) {
  Make({.max_bytes = 1000000}).KeepLimits();
  Make({.max_bytes = 0}).KeepLimits();
  EXPECT_EQ(Left().size(), 3U);
}

TEST_F(EvictorTest, TheLeastRecentlyUsedGoesFirst) {
  Evictor evictor = Make({.max_bytes = kRoomForTwo});
  EXPECT_GT(evictor.usage().used_bytes, kRoomForTwo);
  evictor.KeepLimits();
  EXPECT_THAT(Left(), UnorderedElementsAre(Key(0), Key(1)));
  const CacheUsage usage = evictor.usage();
  EXPECT_LE(usage.used_bytes, kRoomForTwo);
  EXPECT_EQ(usage.evicted_blobs, 1U);
  EXPECT_GE(usage.evicted_bytes, kFileBytes);
}

TEST_F(EvictorTest, WhatWasUsedJustNowStays) {
  store_->Touch(Key(2));
  Make({.max_bytes = kRoomForTwo}).KeepLimits();
  EXPECT_THAT(Left(), UnorderedElementsAre(Key(0), Key(2)));
}

TEST_F(EvictorTest, WhatAMountNeedsStaysWhateverTheLimits) {
  in_use_ = {Key(2)};
  FLOE_ASSERT_OK_AND_ASSIGN(const auto held, store_->Acquire(requests_[1]));
  Evictor evictor = Make({.max_bytes = 1});
  evictor.KeepLimits();
  EXPECT_THAT(Left(), UnorderedElementsAre(Key(1), Key(2)));
}

TEST_F(EvictorTest, KeepsSoMuchOfTheDiskFree) {
  space_.free_bytes = 99999;
  Evictor evictor = Make({.min_free_percent = 10});
  evictor.KeepLimits();
  EXPECT_TRUE(Left().empty()) << "the fake disk does not become emptier";
  EXPECT_EQ(evictor.usage().disk.free_bytes, 99999U);
}

TEST_F(EvictorTest, MakesRoomForOneThoughTheLimitsAreKept) {
  Evictor evictor = Make({});
  EXPECT_TRUE(evictor.MakeRoom());
  EXPECT_THAT(Left(), UnorderedElementsAre(Key(0), Key(1)));
}

TEST_F(EvictorTest, WhereNothingCanGoItIsNotAskedForAllTheTime) {
  in_use_ = {Key(0), Key(1), Key(2)};
  Evictor evictor = Make({});
  EXPECT_FALSE(evictor.MakeRoom());
  in_use_.clear();
  EXPECT_FALSE(evictor.MakeRoom());
  clock_.Advance(std::chrono::seconds(2));
  EXPECT_TRUE(evictor.MakeRoom());
}

TEST_F(EvictorTest, ARemovedBlobStartsAnew) {
  Make({.max_bytes = 1}).KeepLimits();
  EXPECT_TRUE(Left().empty());
  FLOE_ASSERT_OK_AND_ASSIGN(const auto again, store_->Acquire(requests_[0]));
  EXPECT_EQ(again->cache().DiskBytes(), 0U);
  EXPECT_FALSE(again->cache().AllPresent());
}

TEST_F(EvictorTest, WhatAKilledProcessLeftHalfRemovedGoes) {
  std::filesystem::rename(Blobs() / Key(0), Blobs() / (".removed-" + Key(0)));
  store_->RemoveLeftovers();
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(Blobs()), {}), 2);
}

TEST(DiskSpaceTest, OfAFileSystem) {
  FLOE_ASSERT_OK_AND_ASSIGN(const DiskSpace space, DiskSpaceAt("/"));
  EXPECT_GT(space.total_bytes, space.free_bytes);
  EXPECT_FALSE(DiskSpaceAt("/does/not/exist").has_value());
}

}  // namespace
}  // namespace floe::cachemgr::testing
