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
