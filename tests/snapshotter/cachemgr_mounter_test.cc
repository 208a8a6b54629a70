#include "snapshotter/cachemgr_mounter.h"

#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"

namespace floe::snapshotter {
namespace {

struct MountCall {
  std::string id;
  std::string target;
  bool plain_http = false;
};

/// Records what it is asked.
class FakeClient final : public client::CachemgrClient {
 public:
  explicit FakeClient(std::vector<MountCall>& calls) : calls_(calls) {}

  Result<cachemgr::v1::MountReply> Mount(const std::string& id, const prepare::MountPlan&,
                                         const std::string& target, bool plain_http) override {
    calls_.push_back({id, target, plain_http});
    return cachemgr::v1::MountReply();
  }
  Result<client::StreamedLayer> StreamLayer(const client::StreamLayerCall&,
                                            const client::StreamProgress&,
                                            const std::atomic<bool>*) override {
    return Unimplemented("fake");
  }
  Result<void> Unmount(const std::string&, bool detach) override {
    return detach ? Result<void>(Internal("never by force")) : Ok();
  }
  Result<cachemgr::v1::StatusReply> Status() override { return Unavailable("nobody answers"); }
  Result<cachemgr::v1::ProbeReply> Probe() override { return cachemgr::v1::ProbeReply(); }

 private:
  std::vector<MountCall>& calls_;
};

class CachemgrMounterTest : public ::testing::Test {
 protected:
  static prepare::MountPlan PlanFrom(const std::string& registry) {
    prepare::MountPlan plan;
    plan.devices.push_back({.key = "k", .blob_map = "", .sources = {{registry, "app"}}});
    return plan;
  }

  std::vector<MountCall> calls_;
  CachemgrMounter mounter_{std::make_unique<FakeClient>(calls_), {"reg:5000"}};
};

TEST_F(CachemgrMounterTest, PassesTheMountOn) {
  FLOE_ASSERT_OK(mounter_.Mount("id", PlanFrom("docker.io"), "/mnt/1"));
  ASSERT_EQ(calls_.size(), 1U);
  EXPECT_EQ(calls_[0].id, "id");
  EXPECT_EQ(calls_[0].target, "/mnt/1");
  EXPECT_FALSE(calls_[0].plain_http);
}

TEST_F(CachemgrMounterTest, KnowsWhichRegistriesHaveNoTls) {
  FLOE_ASSERT_OK(mounter_.Mount("id", PlanFrom("reg:5000"), "/mnt/1"));
  EXPECT_TRUE(calls_[0].plain_http);
}

TEST_F(CachemgrMounterTest, NeverUnmountsByForce) { FLOE_EXPECT_OK(mounter_.Unmount("id")); }

TEST_F(CachemgrMounterTest, IsReadyWhenTheCacheManagerAnswers) {
  FLOE_EXPECT_ERROR(mounter_.Ready(), ErrorCode::kUnavailable, "nobody answers");
}

}  // namespace
}  // namespace floe::snapshotter
