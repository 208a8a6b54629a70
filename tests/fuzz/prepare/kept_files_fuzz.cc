// What the snapshotter reads back from its disk: a mount plan, the record of a kept tree. Both are
// right or count as missing, and no name in them leads out of their directory.
#include <fcntl.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "prepare/index_store.h"
#include "prepare/mount_plan.h"
#include "tests/fuzz/input.h"
#include "tests/support/temp_dir.h"

namespace floe::prepare {
namespace {

constexpr const char* kTree = "the bytes of a tree";

void Write(const std::filesystem::path& path, std::string_view text) {
  const auto file = OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC);
  FLOE_CHECK(file.has_value());
  FLOE_CHECK(PwriteAll(file->get(), std::as_bytes(std::span(text)), 0).has_value());
}

class Disk {
 public:
  Disk() {
    InitLogging("fuzz", LogLevel::kError);  // Each damaged record is a warning.
    const std::string key(64, 'a');
    FLOE_CHECK(CreateDirectories(plan_).has_value());
    Write(plan_ / "bootstrap.erofs", "");
    Write(plan_ / (key + ".blobmap"), "");
    FLOE_CHECK(store_
                   .Put(IndexStore::LocalScope(), layer_,
                        {.bytes = kTree, .index_manifest = {}, .windows = {}})
                   .has_value());
  }

  void CheckPlan(const std::string& text) const {
    Write(plan_ / "plan.json", text);
    const auto plan = ReadMountPlan(plan_);
    if (!plan) {
      FLOE_CHECK(plan.error().code == ErrorCode::kDataLoss);
      FLOE_CHECK(plan.error().message.find('\n') == std::string::npos);
      return;
    }
    FLOE_CHECK(plan->bootstrap.parent_path() == plan_);
    for (const MountPlan::Device& device : plan->devices) {
      FLOE_CHECK(device.blob_map.parent_path() == plan_ && device.key.size() == 64);
      FLOE_CHECK(std::filesystem::exists(device.blob_map));
    }
  }
  void CheckRecord(const std::string& text) const {
    Write(directory_ / "indexes/local" / (layer_.hex() + ".json"), text);
    const auto tree = store_.Get(IndexStore::LocalScope(), layer_);
    if (tree) {
      FLOE_CHECK(tree->bytes == kTree);
    } else {
      FLOE_CHECK(tree.error().code == ErrorCode::kNotFound);
    }
  }

 private:
  floe::testing::TempDir directory_;
  const std::filesystem::path plan_ = directory_ / "plan";
  const IndexStore store_{directory_ / "indexes"};
  const Digest layer_ = Digest::Of("layer");
};

const std::vector<std::string>& Seeds() {
  static const std::string kDigest = "sha256:" + std::string(64, 'b');
  static const std::vector<std::string> kSeeds = {
      R"({"version":1,"bootstrap":")" + kDigest + R"(","inodes":3,"devices":[{"key":")" +
          std::string(64, 'a') +
          R"(","sources":[{"registry":"r.example","repository":"a/b"}]}],"unresolved_implied":)"
          R"(["usr/lib","a%20b%ff"]})",
      R"({"tree":")" + Digest::Of(kTree).ToString() + R"(","index_manifest":")" + kDigest +
          R"(","windows":{"digest":")" + kDigest + R"(","size":9}})"};
  return kSeeds;
}

}  // namespace
}  // namespace floe::prepare

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const floe::prepare::Disk disk;
  floe::testing::FuzzInput input(data, size);
  const std::string text = floe::testing::EditedText(input, floe::prepare::Seeds());
  disk.CheckPlan(text);
  disk.CheckRecord(text);
  return 0;
}
