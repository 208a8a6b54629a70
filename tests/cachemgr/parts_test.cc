// The small parts: sources, fill plans, mount records, mountinfo, configuration, errnos.
#include <sys/sysmacros.h>

#include <cerrno>

#include <gmock/gmock.h>

#include "cachemgr/cache/fill_plan.h"
#include "cachemgr/cache/read_ahead.h"
#include "cachemgr/cache/sources.h"
#include "cachemgr/cache/work_queue.h"
#include "cachemgr/channel/errno_map.h"
#include "cachemgr/config.h"
#include "cachemgr/mounts/mount_points.h"
#include "cachemgr/mounts/mount_record.h"
#include "tests/cachemgr/test_blob.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::cachemgr {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TestBlob;

TEST(SourcesTest, RoundTrip) {
  const std::vector<Source> sources = {
      {.repository = {.registry = "r.example:5000", .path = "a/b"}, .plain_http = true},
      {.repository = {.registry = "docker.io", .path = "library/x"}}};
  FLOE_ASSERT_OK_AND_ASSIGN(const auto decoded, DecodeSources(EncodeSources(sources)));
  EXPECT_EQ(decoded, sources);
}

TEST(SourcesTest, DamagedFilesAreDataLoss) {
  for (const std::string text : {"", "{", "[]", R"({"version":2,"sources":[]})",
                                 R"({"version":1,"sources":[{"registry":1}]})"}) {
    EXPECT_FALSE(DecodeSources(text).has_value()) << text;
  }
}

class FillPlanTest : public ::testing::Test {
 protected:
  FillPlanTest() {
    const TestBlob blob = TestBlob::Make({.file_bytes = {100000}});  // Units of 8192.
    auto map = image::BlobMap::Open(blob.Store(directory_.path()) / "map", blob.key);
    EXPECT_TRUE(map.has_value());
    map_ = std::move(*map);
  }
  std::vector<ByteRange> Ranges(const std::vector<uint32_t>& units, const MergeLimits& limits) {
    std::vector<ByteRange> ranges;
    for (const FetchPlan& plan : PlanFetches(*map_, units, limits)) {
      ranges.push_back(plan.range);
    }
    return ranges;
  }
  floe::testing::TempDir directory_;
  std::unique_ptr<image::BlobMap> map_;
};

TEST_F(FillPlanTest, NeighboursAreJoined) {
  EXPECT_THAT(Ranges({0, 1, 2}, {}), ElementsAre(ByteRange{.offset = 0, .length = 24576}));
}

TEST_F(FillPlanTest, GapsUpToTheLimitAreFetchedToo) {
  EXPECT_THAT(Ranges({0, 2}, {.gap_bytes = 8192}),
              ElementsAre(ByteRange{.offset = 0, .length = 24576}));
  EXPECT_THAT(Ranges({0, 2}, {.gap_bytes = 8191}),
              ElementsAre(ByteRange{.offset = 0, .length = 8192},
                          ByteRange{.offset = 16384, .length = 8192}));
}

TEST_F(FillPlanTest, RequestsHaveALargestSize) {
  EXPECT_THAT(Ranges({0, 1, 2}, {.max_request_bytes = 16384}),
              ElementsAre(ByteRange{.offset = 0, .length = 16384},
                          ByteRange{.offset = 16384, .length = 8192}));
  // A unit that is larger by itself is fetched all the same.
  EXPECT_THAT(Ranges({0}, {.max_request_bytes = 100}),
              ElementsAre(ByteRange{.offset = 0, .length = 8192}));
}

TEST(ReadAheadTest, GrowsWhileTheWalkGoesOnAndStartsAnewElsewhere) {
  ReadAhead ahead;
  EXPECT_EQ(ahead.OnDemand(4, 4, 8).count, 0U);
  auto window = ahead.OnDemand(5, 5, 8);
  EXPECT_EQ(window.first, 6U);
  EXPECT_EQ(window.count, 1U);
  window = ahead.OnDemand(6, 6, 8);
  EXPECT_EQ(window.first, 7U);
  EXPECT_EQ(window.count, 2U);
  window = ahead.OnDemand(9, 9, 3);  // All that was ahead were hits.
  EXPECT_EQ(window.first, 10U);
  EXPECT_EQ(window.count, 3U);
  EXPECT_EQ(ahead.OnDemand(1000, 1001, 8).count, 0U);
  window = ahead.OnDemand(1002, 1003, 8);
  EXPECT_EQ(window.first, 1004U);
  EXPECT_EQ(window.count, 1U);
  EXPECT_EQ(ahead.OnDemand(3, 3, 8).count, 0U);
}

TEST(ReadAheadTest, NothingAheadWhenSwitchedOff) {
  ReadAhead ahead;
  EXPECT_EQ(ahead.OnDemand(0, 0, 0).count, 0U);
  EXPECT_EQ(ahead.OnDemand(1, 1, 0).count, 0U);
}

TEST(MountRecordTest, RoundTrip) {
  const MountRecord record{.id = "a.b_c-1",
                           .target = "/run/floe/mnt x",
                           .bootstrap_digest = "sha256:00",
                           .keys = {"k1", "k2"},
                           .channel = "fuse",
                           .instance = "i",
                           .device = makedev(0, 77),
                           .layers = {{.digest = "sha256:1", .reader = "soci", .origin = "bound"},
                                      {.digest = "sha256:2", .why_not = "no \"index\""}}};
  FLOE_ASSERT_OK_AND_ASSIGN(const MountRecord decoded,
                            DecodeMountRecord(EncodeMountRecord(record)));
  EXPECT_EQ(decoded.id, record.id);
  EXPECT_EQ(decoded.target, record.target);
  EXPECT_EQ(decoded.keys, record.keys);
  EXPECT_EQ(decoded.channel, record.channel);
  EXPECT_EQ(decoded.instance, record.instance);
  EXPECT_EQ(decoded.device, record.device);
  EXPECT_EQ(decoded.layers, record.layers);
}

TEST(MountRecordTest, RecordsWithoutNotesAreReadAndWrongNotesLeftOut) {
  std::string json = EncodeMountRecord({.id = "a", .layers = {{.digest = "sha256:1"}}});
  const auto replace = [&](const std::string& what, const std::string& by) {
    std::string copy = json;
    return copy.replace(copy.find(what), what.size(), by);
  };
  FLOE_ASSERT_OK_AND_ASSIGN(const MountRecord older,
                            DecodeMountRecord(replace("\"layers\"", "\"others\"")));
  EXPECT_TRUE(older.layers.empty());
  FLOE_ASSERT_OK_AND_ASSIGN(const MountRecord wrong,
                            DecodeMountRecord(replace("\"sha256:1\"", "7")));
  EXPECT_TRUE(wrong.layers.empty());
}

TEST(MountRecordTest, DamagedRecordsAreDataLoss) {
  EXPECT_FALSE(DecodeMountRecord("").has_value());
  EXPECT_FALSE(DecodeMountRecord("{\"version\":1}").has_value());
  EXPECT_FALSE(DecodeMountRecord("[1]").has_value());
}

TEST(MountRecordTest, IdsAreFileNames) {
  EXPECT_TRUE(IsMountId("sha256-0a.B_c"));
  EXPECT_TRUE(IsMountId(std::string(128, 'x')));
  for (const std::string id : {"", ".", "..", "a/b", "a b", "a\nb"}) {
    EXPECT_FALSE(IsMountId(id)) << id;
  }
  EXPECT_FALSE(IsMountId(std::string(129, 'x')));
}

constexpr std::string_view kMountInfo =
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "36 35 0:39 / /mnt/a\\040b ro shared:1 master:2 - erofs none ro\n"
    "37 36 0:40 / /mnt/top ro - tmpfs tmpfs rw\n"
    "38 37 0:41 / /mnt/top ro - erofs none rw\n"
    "broken line\n";

TEST(MountPointsTest, FindsTheTopmostMountOfAPath) {
  const auto top = FindMountPoint(kMountInfo, "/mnt/top");
  ASSERT_TRUE(top.has_value());
  EXPECT_EQ(top->type, "erofs");
  EXPECT_EQ(top->device, makedev(0, 41));
}

TEST(MountPointsTest, UnescapesPaths) {
  const auto found = FindMountPoint(kMountInfo, "/mnt/a b");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->device, makedev(0, 39));
  EXPECT_FALSE(FindMountPoint(kMountInfo, "/mnt").has_value());
}

TEST(ConfigTest, SetsWhatItNamesAndKeepsTheRest) {
  Config config;
  FLOE_ASSERT_OK(
      ApplyConfig("channel = 'fuse'\n"
                  "log_level = 'debug'\n"
                  "[fill]\nrequest_timeout_ms = 1500\nreadahead_units = 0\n"
                  "[cachefiles]\nrun_percent = 30\ncull_percent = 20\n"
                  "[registry]\nplain_http = ['a:1', 'b']\nhttp2 = false\n",
                  config));
  EXPECT_EQ(config.manager.channel, "fuse");
  EXPECT_EQ(config.log_level, LogLevel::kDebug);
  EXPECT_EQ(config.manager.fill.request_timeout, std::chrono::milliseconds(1500));
  EXPECT_EQ(config.manager.fill.readahead_units, 0U);
  EXPECT_EQ(config.manager.fill.workers, FillOptions().workers);
  EXPECT_EQ(config.manager.cull_limits.cull_percent, 20U);
  EXPECT_EQ(config.manager.cull_limits.stop_percent, CullLimits().stop_percent);
  EXPECT_THAT(config.registry.plain_http, ElementsAre("a:1", "b"));
  EXPECT_FALSE(config.registry.http2);
}

TEST(ConfigTest, UnknownKeysAreRefusedWithTheNearestOne) {
  Config config;
  FLOE_EXPECT_ERROR(ApplyConfig("[fill]\nrequest_timeout = 1\n", config),
                    ErrorCode::kInvalidArgument,
                    "unknown key \"fill.request_timeout\"; did you mean "
                    "\"fill.request_timeout_ms\"?");
  FLOE_EXPECT_ERROR(ApplyConfig("chanel = 'fuse'", config), ErrorCode::kInvalidArgument,
                    "did you mean \"channel\"?");
}

TEST(ConfigTest, SizesHaveUnits) {
  Config config;
  const auto size = [&](const std::string& value) -> Result<uint64_t> {
    FLOE_RETURN_IF_ERROR(ApplyConfig("[cache]\nmax_size = " + value, config));
    return config.manager.cache.max_bytes;
  };
  EXPECT_EQ(size("12345").value_or(0), 12345U);
  EXPECT_EQ(size("'20GB'").value_or(0), 20'000'000'000U);
  EXPECT_EQ(size("'2 MiB'").value_or(0), 2U << 20U);
  for (const char* wrong : {"-1", "'20'", "'GB'", "'20 XB'", "'99999999999TiB'", "'1GB '", "1.5"}) {
    FLOE_EXPECT_ERROR(size(wrong), ErrorCode::kInvalidArgument, "cache.max_size wants bytes");
  }
}

TEST(ConfigTest, WrongValuesAreRefused) {
  Config config;
  FLOE_EXPECT_ERROR(ApplyConfig("[fill]\nworkers = 'two'\n", config), ErrorCode::kInvalidArgument,
                    "fill.workers wants a number from 1 to 256");
  FLOE_EXPECT_ERROR(ApplyConfig("[fill]\nworkers = 0\n", config), ErrorCode::kInvalidArgument,
                    "fill.workers");
  FLOE_EXPECT_ERROR(ApplyConfig("channel = 'floppy'", config), ErrorCode::kInvalidArgument,
                    "none of auto, fuse");
  FLOE_EXPECT_ERROR(ApplyConfig("channel = ", config), ErrorCode::kInvalidArgument, "line 1");
  FLOE_EXPECT_ERROR(ApplyConfig("[registry]\nplain_http = ['a', 1]\n", config),
                    ErrorCode::kInvalidArgument, "list of strings");
  FLOE_EXPECT_ERROR(ApplyConfig("[cachefiles]\nrun_percent = 5\n", config),
                    ErrorCode::kInvalidArgument,
                    "stop_percent 1 < cull_percent 5 < run_percent 5 is false");
}

TEST(ErrnoMapTest, FailuresNeverBecomeSuccess) {
  for (int code = 1; code <= 16; ++code) {
    EXPECT_GT(ErrnoForReply(Error{static_cast<ErrorCode>(code), "x"}), 0) << code;
  }
  EXPECT_EQ(ErrnoForReply(ErrnoError(ENOSPC, "x")), ENOSPC);
  EXPECT_EQ(ErrnoForReply(ErrnoError(ENOMEM, "x")), EIO);
  EXPECT_EQ(ErrnoForReply(DataLoss("x")), EIO);
  EXPECT_EQ(ErrnoForReply(DeadlineExceeded("x")), ETIMEDOUT);
}

TEST(WorkQueueTest, DemandComesFirstAndPromotedPrefetchWithIt) {
  WorkQueue<int> queue;
  queue.Push(1, Priority::kPrefetch);
  queue.Push(2, Priority::kPrefetch);
  queue.Push(3, Priority::kDemand);
  queue.Promote([](int item) { return item == 2; });
  queue.Close();
  EXPECT_EQ(queue.Pop(), 3);
  EXPECT_EQ(queue.Pop(), 2);
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.Pop(), std::nullopt);
}

}  // namespace
}  // namespace floe::cachemgr
