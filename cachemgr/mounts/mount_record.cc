#include "cachemgr/mounts/mount_record.h"

#include <algorithm>
#include <string_view>

#include <nlohmann/json.hpp>

namespace floe::cachemgr {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 1;
constexpr size_t kMaxIdBytes = 128;

bool GetString(const Json& object, const char* name, std::string& into) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_string()) {
    return false;
  }
  into = found->get<std::string>();
  return true;
}

Json EncodeLayers(const std::vector<LayerNote>& layers) {
  Json array = Json::array();
  for (const LayerNote& layer : layers) {
    array.push_back({{"digest", layer.digest},
                     {"reader", layer.reader},
                     {"origin", layer.origin},
                     {"why_not", layer.why_not}});
  }
  return array;
}

// Notes are for people: what is not one is left out.
std::vector<LayerNote> DecodeLayers(const Json& array) {
  std::vector<LayerNote> layers;
  if (!array.is_array()) {
    return layers;
  }
  for (const Json& entry : array) {
    LayerNote layer;
    if (entry.is_object() && GetString(entry, "digest", layer.digest) &&
        GetString(entry, "reader", layer.reader) && GetString(entry, "origin", layer.origin) &&
        GetString(entry, "why_not", layer.why_not)) {
      layers.push_back(std::move(layer));
    }
  }
  return layers;
}

}  // namespace

std::string EncodeMountRecord(const MountRecord& record) {
  return Json{{"version", kVersion},
              {"id", record.id},
              {"target", record.target},
              {"bootstrap_digest", record.bootstrap_digest},
              {"keys", record.keys},
              {"channel", record.channel},
              {"instance", record.instance},
              {"boot_id", record.boot_id},
              {"device", record.device},
              {"lost", record.lost},
              {"layers", EncodeLayers(record.layers)}}
      .dump(2, ' ', true, Json::error_handler_t::replace);
}

Result<MountRecord> DecodeMountRecord(const std::string& json) {
  const Json document = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  MountRecord record;
  if (!document.is_object() || document.value("version", Json()) != kVersion ||
      !GetString(document, "id", record.id) || !GetString(document, "target", record.target) ||
      !GetString(document, "bootstrap_digest", record.bootstrap_digest) ||
      !GetString(document, "channel", record.channel) ||
      !GetString(document, "instance", record.instance)) {
    return DataLoss("not a mount record");
  }
  const Json keys = document.value("keys", Json());
  const Json device = document.value("device", Json());
  if (!keys.is_array() || !device.is_number_unsigned() ||
      !std::ranges::all_of(keys, [](const Json& key) { return key.is_string(); })) {
    return DataLoss("not a mount record");
  }
  (void)GetString(document, "boot_id", record.boot_id);
  record.lost = document.value("lost", Json(false)) == Json(true);
  record.layers = DecodeLayers(document.value("layers", Json()));
  record.keys = keys.get<std::vector<std::string>>();
  record.device = device.get<dev_t>();
  return record;
}

bool IsMountId(std::string_view id) {
  return !id.empty() && id.size() <= kMaxIdBytes && id != "." && id != ".." &&
         std::ranges::all_of(id, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '.' || c == '-';
         });
}

}  // namespace floe::cachemgr
