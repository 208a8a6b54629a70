#include "cli/status.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace floe::cli {
namespace {

using ::testing::HasSubstr;

cachemgr::v1::StatusReply Sample() {
  cachemgr::v1::StatusReply status;
  status.set_version("0.1.0");
  status.set_channel("auto");
  auto* mount = status.add_mounts();
  mount->set_id("image-1");
  mount->set_channel("fuse");
  mount->add_keys("aa");
  mount->set_live(false);
  auto* blob = status.add_blobs();
  blob->set_blob_digest("sha256:0123456789abcdef0123");
  blob->set_device_bytes(4000000);
  blob->set_present_bytes(1000000);
  blob->set_blob_bytes(1ULL << 40U);
  blob->set_fetched_bytes(500);
  status.mutable_counters()->set_reads_hit(7);
  status.mutable_counters()->set_reads_joined(1);
  status.mutable_counters()->set_reads_filled(2);
  status.mutable_counters()->set_reads_failed(3);
  return status;
}

TEST(StatusTest, JsonHoldsNumbersAsNumbers) {
  const auto json = nlohmann::json::parse(StatusJson(Sample()), nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(json["blobs"][0]["present_bytes"], 1000000);
  EXPECT_EQ(json["blobs"][0]["blob_bytes"], 1ULL << 40U);
  EXPECT_EQ(json["counters"]["reads_hit"], 7);
  EXPECT_EQ(json["misses"], 6);
  EXPECT_EQ(json["mounts"][0]["live"], false);
  EXPECT_EQ(json["mounts"][0]["keys"][0], "aa");
}

TEST(StatusTest, TextSaysHowMuchIsPresentAndWhatIsDead) {
  const std::string text = StatusText(Sample());
  EXPECT_THAT(text, HasSubstr("present 1.0 MB of 4.0 MB (25 %)"));
  EXPECT_THAT(text, HasSubstr("fetched 500 B"));
  EXPECT_THAT(text, HasSubstr("DEAD"));
}

TEST(StatusTest, HowEachLayerCameToBeLazyIsOneLine) {
  cachemgr::v1::StatusReply status = Sample();
  auto* first = status.mutable_mounts(0)->add_layers();
  first->set_digest("sha256:0123456789abcdef0123");
  first->set_reader("soci");
  first->set_origin("bound");
  auto* second = status.mutable_mounts(0)->add_layers();
  second->set_digest("sha256:fedcba");
  second->set_reader("stream");
  second->set_origin("local");
  second->set_why_not("no index:\nnot found");
  const std::string text = StatusText(status);
  EXPECT_THAT(text, HasSubstr("    sha256:0123456789ab  soci  bound\n"));
  EXPECT_THAT(text,
              HasSubstr("    sha256:fedcba  stream  local  not better: no index:?not found\n"));
  const auto json = nlohmann::json::parse(StatusJson(status), nullptr, false);
  EXPECT_EQ(json["mounts"][0]["layers"][0]["reader"], "soci");
  EXPECT_EQ(json["mounts"][0]["layers"][1]["digest"], "sha256:fedcba");
  EXPECT_EQ(json["mounts"][0]["layers"][1]["why_not"], "no index:\nnot found");
}

TEST(StatusTest, LostAndDetachedMountsAndTheKeeperAreNamed) {
  cachemgr::v1::StatusReply status = Sample();
  status.set_keeper("connected");
  status.mutable_mounts(0)->set_lost(true);
  auto* detached = status.add_mounts();
  detached->set_id("image-2");
  detached->set_detached(true);
  const std::string text = StatusText(status);
  EXPECT_THAT(text, HasSubstr("keeper connected"));
  EXPECT_THAT(text, HasSubstr("LOST: may have read zeros"));
  EXPECT_THAT(text, HasSubstr("detached, in use"));
  const auto json = nlohmann::json::parse(StatusJson(status), nullptr, false);
  EXPECT_EQ(json["keeper"], "connected");
  EXPECT_EQ(json["mounts"][0]["lost"], true);
  EXPECT_EQ(json["mounts"][1]["detached"], true);
}

TEST(StatusTest, TheCacheAgainstItsLimits) {
  cachemgr::v1::StatusReply status = Sample();
  auto& cache = *status.mutable_cache();
  cache.set_used_bytes(1500000);
  cache.set_disk_free_bytes(3000000);
  cache.set_disk_total_bytes(4000000);
  EXPECT_THAT(StatusText(status), HasSubstr("cache: 1.5 MB used, 3.0 MB of 4.0 MB free"));
  cache.set_max_bytes(2000000);
  cache.set_evicted_blobs(2);
  cache.set_evicted_bytes(700000);
  EXPECT_THAT(StatusText(status), HasSubstr("cache: 1.5 MB used of 2.0 MB allowed"));
  EXPECT_THAT(StatusText(status), HasSubstr("2 blobs evicted (700.0 kB)"));
  const auto json = nlohmann::json::parse(StatusJson(status), nullptr, false)["cache"];
  EXPECT_EQ(json["used_bytes"], 1500000);
  EXPECT_EQ(json["evicted_blobs"], 2);
}

TEST(StatusTest, FaultsAreNamedWhereThereAreAny) {
  cachemgr::v1::StatusReply status = Sample();
  EXPECT_EQ(StatusText(status).find("faults"), std::string::npos);
  auto& network = *status.mutable_counters()->mutable_network_faults();
  network["timed_out"].set_all(1);
  network["server_error"].set_all(3);
  network["server_error"].set_retried(2);
  (*status.mutable_counters()->mutable_integrity_faults())["wrong_bytes"].set_all(4);
  const std::string text = StatusText(status);
  EXPECT_THAT(text, HasSubstr("\nnetwork faults: 3 server_error (2 retried), 1 timed_out\n"));
  EXPECT_THAT(text, HasSubstr("\nintegrity faults: 4 wrong_bytes\n"));

  const auto json = nlohmann::json::parse(StatusJson(status), nullptr, false)["counters"];
  EXPECT_EQ(json["network_faults"]["server_error"]["all"], 3);
  EXPECT_EQ(json["network_faults"]["server_error"]["retried"], 2);
  EXPECT_EQ(json["integrity_faults"]["wrong_bytes"]["all"], 4);
  EXPECT_EQ(json["integrity_faults"]["wrong_bytes"]["retried"], 0);
}

TEST(StatusTest, NamesThatAreNotUtf8DoNotStopJson) {
  cachemgr::v1::StatusReply status;
  status.add_mounts()->set_id("ok");
  status.set_root(std::string("/r"));
  EXPECT_FALSE(nlohmann::json::parse(StatusJson(status), nullptr, false).is_discarded());
}

}  // namespace
}  // namespace floe::cli
