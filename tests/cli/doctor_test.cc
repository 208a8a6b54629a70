#include "cli/doctor.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace floe::cli {
namespace {

using ::testing::HasSubstr;

const Finding* Find(const std::vector<Finding>& findings, const std::string& name) {
  const auto found = std::find_if(findings.begin(), findings.end(),
                                  [&](const Finding& finding) { return finding.name == name; });
  return found == findings.end() ? nullptr : &*found;
}

#define EXPECT_FINDING(expr, name, expected, text)             \
  do {                                                         \
    const std::vector<Finding> findings_ = (expr);             \
    const Finding* finding_ = Find(findings_, name);           \
    ASSERT_NE(finding_, nullptr) << (name);                    \
    EXPECT_EQ(finding_->verdict, expected);                    \
    EXPECT_THAT(finding_->detail, HasSubstr(text));            \
    EXPECT_EQ(finding_->detail.find('\n'), std::string::npos); \
  } while (false)

client::Plugin FloePlugin() {
  return {"io.containerd.snapshotter.v1",
          "floe",
          {{"root", "/var/lib/floe"}, {"enable_remote_snapshot_annotations", "true"}},
          {"remap-ids"},
          ""};
}

TEST(DoctorPluginsTest, AMissingPluginSaysWhatToAdd) {
  const auto findings = ExaminePlugins("1.6.20~ds1", {}, "floe");
  EXPECT_FINDING(findings, "plugin", Verdict::kMissing, "[proxy_plugins.floe]");
}

TEST(DoctorPluginsTest, APluginThatFailedToLoadSaysWhy) {
  client::Plugin plugin = FloePlugin();
  plugin.init_error = "no such socket";
  EXPECT_FINDING(ExaminePlugins("1.6.20", {plugin}, "floe"), "plugin", Verdict::kMissing,
                 "no such socket");
}

TEST(DoctorPluginsTest, ACompleteConfigurationHasNothingToSay) {
  for (const Finding& finding : ExaminePlugins("v2.1.9", {FloePlugin()}, "floe")) {
    EXPECT_EQ(finding.verdict, Verdict::kGood) << finding.name << ": " << finding.detail;
  }
}

TEST(DoctorPluginsTest, ExportsAndCapabilitiesMatterFromTheVersionThatKnowsThem) {
  client::Plugin plugin = FloePlugin();
  plugin.exports.clear();
  plugin.capabilities.clear();
  const auto old = ExaminePlugins("1.6.20", {plugin}, "floe");
  EXPECT_EQ(Find(old, "transfer service"), nullptr);
  EXPECT_EQ(Find(old, "user namespaces"), nullptr);
  EXPECT_EQ(Find(old, "exports.root"), nullptr);
  const auto current = ExaminePlugins("2.1.9", {plugin}, "floe");
  EXPECT_FINDING(current, "exports.root", Verdict::kNote, "[proxy_plugins.floe.exports]");
  EXPECT_FINDING(current, "transfer service", Verdict::kNote, "enable_remote_snapshot_annotations");
  EXPECT_FINDING(current, "user namespaces", Verdict::kNote, "remap-ids");
}

constexpr const char* kGoodConfig16 = R"(
version = 2
[proxy_plugins.floe]
  type = "snapshot"
  address = "/run/floe/floe.sock"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "floe"
  disable_snapshot_annotations = false
)";

TEST(DoctorConfigTest, AGoodConfigurationOfContainerd16) {
  for (const Finding& finding : ExamineContainerdConfig(kGoodConfig16, "1.6.20", "floe", true)) {
    EXPECT_EQ(finding.verdict, Verdict::kGood) << finding.name << ": " << finding.detail;
  }
}

TEST(DoctorConfigTest, TheDefaultsOfTheCriPluginAreNeverLazy) {
  const auto findings = ExamineContainerdConfig("version = 2\n", "1.6.20", "floe", true);
  EXPECT_FINDING(findings, "configuration", Verdict::kMissing, "[proxy_plugins.floe]");
  EXPECT_FINDING(findings, "CRI labels", Verdict::kMissing,
                 "disable_snapshot_annotations = false in "
                 "[plugins.\"io.containerd.grpc.v1.cri\".containerd]");
  EXPECT_FINDING(findings, "CRI snapshotter", Verdict::kMissing, "pods use overlayfs");
}

TEST(DoctorConfigTest, WithoutTheCriPluginItsSettingsDoNotMatter) {
  EXPECT_EQ(Find(ExamineContainerdConfig("", "1.6.20", "floe", false), "CRI labels"), nullptr);
}

TEST(DoctorConfigTest, Containerd2KeepsTheSettingsElsewhere) {
  const auto findings = ExamineContainerdConfig(R"(
version = 3
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "floe"
  disable_snapshot_annotations = false
[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
  platform = "linux"
  snapshotter = "floe"
)",
                                                "2.1.9", "floe", true);
  EXPECT_FINDING(findings, "CRI labels", Verdict::kGood, "");
  EXPECT_FINDING(findings, "CRI snapshotter", Verdict::kGood, "");
  EXPECT_FINDING(findings, "transfer service unpacks", Verdict::kGood, "");
}

TEST(DoctorConfigTest, WrongTypesAndBrokenFilesAreFindingsNotCrashes) {
  EXPECT_FINDING(ExamineContainerdConfig("proxy_plugins = 7", "2.1", "floe", true), "configuration",
                 Verdict::kMissing, "[proxy_plugins.floe]");
  EXPECT_FINDING(ExamineContainerdConfig("[[[", "2.1", "floe", true), "configuration",
                 Verdict::kMissing, "not TOML");
  EXPECT_FINDING(
      ExamineContainerdConfig("[proxy_plugins.floe]\ntype = \"content\"", "2.1", "floe", false),
      "configuration", Verdict::kMissing, "must be \"snapshot\"");
}

TEST(DoctorChannelsTest, NoUsableChannelIsMissing) {
  cachemgr::v1::ProbeReply reply;
  auto* channel = reply.add_channels();
  channel->set_name("fuse");
  channel->set_detail("/dev/fuse: no such device");
  EXPECT_FINDING(ExamineChannels(reply), "channels", Verdict::kMissing, "none is usable");
  EXPECT_FINDING(ExamineChannels(reply), "channel fuse", Verdict::kNote, "/dev/fuse");
  channel->set_usable(true);
  EXPECT_EQ(Find(ExamineChannels(reply), "channels"), nullptr);
}

TEST(DoctorChannelsTest, AnAbsentCacheManagerIsANote) {
  EXPECT_FINDING(ExamineChannels(Unavailable("nobody answers")), "service", Verdict::kNote,
                 "nobody answers");
}

TEST(DoctorMountsTest, ALostMountIsMissingAndAMissingKeeperANote) {
  cachemgr::v1::StatusReply status;
  status.set_keeper("connected");
  status.add_mounts()->set_id("sound");
  EXPECT_EQ(ExamineMounts(status).size(), 1U);
  EXPECT_FINDING(ExamineMounts(status), "keeper", Verdict::kGood, "holds");
  auto* lost = status.add_mounts();
  lost->set_id("m2");
  lost->set_target("/mnt/m2");
  lost->set_lost(true);
  EXPECT_FINDING(ExamineMounts(status), "mount m2", Verdict::kMissing, "zeros");
  status.set_keeper("none");
  EXPECT_FINDING(ExamineMounts(status), "keeper", Verdict::kNote, "disturbs running containers");
  EXPECT_TRUE(ExamineMounts(Unavailable("nobody answers")).empty());
}

TEST(DoctorKernelTest, LeavesNothingBehind) {
  testing::TempDir directory;
  EXPECT_FALSE(ExamineKernel(directory.path().native()).empty());
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

}  // namespace
}  // namespace floe::cli
