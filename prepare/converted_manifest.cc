#include "prepare/converted_manifest.h"

#include <utility>

#include <nlohmann/json.hpp>

namespace floe::prepare {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kConfigMediaType = "application/vnd.oci.image.config.v1+json";

// Copies and output are recursive. Discarded: no config, or too deep.
Json ParseConfig(const std::string& bytes) {
  constexpr int kMaxDepth = 64;
  bool too_deep = false;
  Json config = Json::parse(
      bytes,
      [&](int depth, Json::parse_event_t /*event*/, Json& /*value*/) {
        too_deep = too_deep || depth > kMaxDepth;
        return !too_deep;
      },
      false);
  const bool good =
      !too_deep && config.is_object() && config.contains("rootfs") && config["rootfs"].is_object();
  return good ? config : Json(Json::value_t::discarded);
}

Json DescriptorJson(const image::Descriptor& descriptor) {
  Json json{{"mediaType", descriptor.media_type},
            {"digest", descriptor.digest.ToString()},
            {"size", descriptor.size_bytes}};
  if (!descriptor.annotations.empty()) {
    json["annotations"] = descriptor.annotations;
  }
  return json;
}

}  // namespace

Result<std::string> ReplaceDiffIds(const std::string& config, const std::vector<Digest>& before,
                                   const std::vector<Digest>& after) {
  if (before == after) {
    return config;
  }
  Json document = ParseConfig(config);
  if (document.is_discarded()) {
    return InvalidArgument("the image's configuration has no rootfs");
  }
  Json diff_ids = Json::array();
  for (const Digest& diff_id : after) {
    diff_ids.push_back(diff_id.ToString());
  }
  document["rootfs"]["diff_ids"] = std::move(diff_ids);
  return document.dump();
}

std::string WriteImageManifest(const Digest& config, uint64_t config_bytes,
                               const std::vector<image::Descriptor>& layers,
                               const std::map<std::string, std::string>& annotations) {
  Json manifest{
      {"schemaVersion", 2},
      {"mediaType", kOciManifestMediaType},
      {"config",
       {{"mediaType", kConfigMediaType}, {"digest", config.ToString()}, {"size", config_bytes}}}};
  manifest["layers"] = Json::array();
  for (const image::Descriptor& layer : layers) {
    manifest["layers"].push_back(DescriptorJson(layer));
  }
  if (!annotations.empty()) {
    manifest["annotations"] = annotations;
  }
  return manifest.dump();
}

}  // namespace floe::prepare
