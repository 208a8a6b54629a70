#include "prepare/mount_plan.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "image/blob_map.h"

namespace floe::prepare {
namespace {

using Json = nlohmann::json;

constexpr int kPlanVersion = 1;
constexpr uint64_t kMaxPlanBytes = 64U << 20U;
constexpr const char* kPlanFile = "plan.json";
constexpr const char* kBootstrapFile = "bootstrap.erofs";

std::string BlobMapFile(const std::string& key) { return key + ".blobmap"; }

Json WritePlan(const MountPlan& plan) {
  Json devices = Json::array();
  for (const MountPlan::Device& device : plan.devices) {
    Json sources = Json::array();
    for (const fetcher::Repository& source : device.sources) {
      sources.push_back({{"registry", source.registry}, {"repository", source.path}});
    }
    devices.push_back({{"key", device.key}, {"sources", std::move(sources)}});
  }
  return {{"version", kPlanVersion},
          {"bootstrap", plan.bootstrap_digest.ToString()},
          {"inodes", plan.inode_count},
          {"devices", std::move(devices)},
          {"unresolved_implied", plan.unresolved_implied}};
}

Result<fetcher::Repository> ReadSource(const Json& source) {
  if (!source.is_object() || !source.contains("registry") || !source["registry"].is_string() ||
      !source.contains("repository") || !source["repository"].is_string()) {
    return DataLoss("a source without registry or repository");
  }
  return fetcher::Repository{source["registry"].get<std::string>(),
                             source["repository"].get<std::string>()};
}

Result<MountPlan::Device> ReadDevice(const Json& entry, const std::filesystem::path& directory) {
  if (!entry.is_object() || !entry.contains("key") || !entry["key"].is_string() ||
      !entry.contains("sources") || !entry["sources"].is_array()) {
    return DataLoss("a device without key or sources");
  }
  MountPlan::Device device;
  device.key = entry["key"].get<std::string>();
  FLOE_RETURN_IF_ERROR(Digest::Parse("sha256:" + device.key));
  device.blob_map = directory / BlobMapFile(device.key);
  for (const Json& source : entry["sources"]) {
    FLOE_ASSIGN_OR_RETURN(fetcher::Repository repository, ReadSource(source));
    device.sources.push_back(std::move(repository));
  }
  return device;
}

Result<MountPlan> ParsePlan(const std::string& text, const std::filesystem::path& directory) {
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || json.value("version", Json()) != Json(kPlanVersion) ||
      !json.contains("bootstrap") || !json["bootstrap"].is_string() || !json.contains("devices") ||
      !json["devices"].is_array() || !json.contains("inodes") ||
      !json["inodes"].is_number_unsigned()) {
    return DataLoss("not a mount plan of version {}", kPlanVersion);
  }
  MountPlan plan;
  plan.bootstrap = directory / kBootstrapFile;
  FLOE_ASSIGN_OR_RETURN(plan.bootstrap_digest, Digest::Parse(json["bootstrap"].get<std::string>()));
  plan.inode_count = json["inodes"].get<uint64_t>();
  for (const Json& entry : json["devices"]) {
    FLOE_ASSIGN_OR_RETURN(MountPlan::Device device, ReadDevice(entry, directory));
    plan.devices.push_back(std::move(device));
  }
  for (const Json& path : json.value("unresolved_implied", Json::array())) {
    if (path.is_string()) {
      plan.unresolved_implied.push_back(path.get<std::string>());
    }
  }
  return plan;
}

}  // namespace

Result<MountPlan> WriteMountPlan(std::span<const PlanLayer> bottom_to_top,
                                 erofs::WhiteoutForm whiteouts,
                                 const std::filesystem::path& directory) {
  std::vector<std::vector<std::string>> maps(bottom_to_top.size());
  std::vector<erofs::MergeLayer> layers;
  for (size_t i = 0; i < bottom_to_top.size(); ++i) {
    const image::LayerIndex& index = *bottom_to_top[i].index;
    erofs::MergeLayer layer{&index, {}};
    for (uint32_t blob = 0; blob < index.data().blobs.size(); ++blob) {
      maps[i].push_back(image::EncodeBlobMap(index, blob));
      layer.device_tags.push_back(image::DeviceKey(maps[i].back()));
    }
    layers.push_back(std::move(layer));
  }
  FLOE_ASSIGN_OR_RETURN(erofs::Bootstrap bootstrap,
                        erofs::WriteBootstrap(layers, {.whiteouts = whiteouts}));

  FLOE_RETURN_IF_ERROR(CreateDirectories(directory));
  FLOE_RETURN_IF_ERROR(RemoveFile(directory / kPlanFile));
  MountPlan plan;
  plan.bootstrap = directory / kBootstrapFile;
  plan.bootstrap_digest = Digest::Of(bootstrap.bytes);
  plan.inode_count = bootstrap.inode_count;
  FLOE_RETURN_IF_ERROR(WriteFileAtomically(plan.bootstrap, bootstrap.bytes));
  for (const erofs::BootstrapDevice& device : bootstrap.devices) {
    MountPlan::Device entry{device.tag, directory / BlobMapFile(device.tag),
                            bottom_to_top[device.layer].sources};
    FLOE_RETURN_IF_ERROR(WriteFileAtomically(entry.blob_map, maps[device.layer][device.blob]));
    plan.devices.push_back(std::move(entry));
  }
  plan.unresolved_implied = bootstrap.unresolved_implied;
  FLOE_RETURN_IF_ERROR(WriteFileAtomically(directory / kPlanFile, WritePlan(plan).dump()));
  return plan;
}

Result<MountPlan> ReadMountPlan(const std::filesystem::path& directory) {
  FLOE_ASSIGN_OR_RETURN(std::string text, ReadFile(directory / kPlanFile, kMaxPlanBytes));
  auto plan = ParsePlan(text, directory);
  if (!plan) {
    return WithContext(plan.error(), (directory / kPlanFile).native());
  }
  return plan;
}

}  // namespace floe::prepare
