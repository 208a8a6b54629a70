#include "prepare/mount_plan.h"

#include <charconv>
#include <cstdint>
#include <initializer_list>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "image/blob_map.h"

namespace floe::prepare {
namespace {

using Json = nlohmann::json;

// 2: windows, prefetch and layers. A plan of another version is written anew.
constexpr int kPlanVersion = 2;
constexpr uint64_t kMaxPlanBytes = 64U << 20U;
constexpr const char* kPlanFile = "plan.json";
constexpr const char* kBootstrapFile = "bootstrap.erofs";

std::string BlobMapFile(const std::string& key) { return key + ".blobmap"; }
std::string WindowsFile(const std::string& key) { return key + ".windows"; }

// Paths may hold any bytes, JSON strings may not: what is not printable ASCII, and '%', is %XX.
std::string EscapePath(std::string_view path) {
  std::string text;
  for (char c : path) {
    if (c >= ' ' && c <= '~' && c != '%') {
      text.push_back(c);
    } else {
      text += fmt::format("%{:02x}", static_cast<unsigned char>(c));
    }
  }
  return text;
}

Result<std::string> UnescapePath(std::string_view text) {
  std::string path;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      path.push_back(text[i]);
      continue;
    }
    uint8_t byte = 0;
    const std::string_view digits = text.substr(i + 1, 2);
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (digits.size() != 2 || error != std::errc() || end != digits.data() + 2) {
      return DataLoss("a path with a bad escape");
    }
    path.push_back(static_cast<char>(byte));
    i += 2;
  }
  return path;
}

Json WriteNotes(const std::vector<LayerNote>& notes) {
  Json json = Json::array();
  for (const LayerNote& note : notes) {
    json.push_back({{"digest", note.digest},
                    {"reader", note.reader},
                    {"origin", note.origin},
                    {"why_not", note.why_not}});
  }
  return json;
}

Json WritePlan(const MountPlan& plan) {
  Json devices = Json::array();
  for (const MountPlan::Device& device : plan.devices) {
    Json sources = Json::array();
    for (const fetcher::Repository& source : device.sources) {
      sources.push_back({{"registry", source.registry}, {"repository", source.path}});
    }
    Json prefetch = Json::array();
    for (const image::PrefetchRun& run : device.prefetch) {
      prefetch.push_back({run.first_unit, run.unit_count});
    }
    devices.push_back({{"key", device.key},
                       {"sources", std::move(sources)},
                       {"windows", !device.windows.empty()},
                       {"prefetch", std::move(prefetch)}});
  }
  Json implied = Json::array();
  for (const std::string& path : plan.unresolved_implied) {
    implied.push_back(EscapePath(path));
  }
  return {{"version", kPlanVersion},
          {"bootstrap", plan.bootstrap_digest.ToString()},
          {"inodes", plan.inode_count},
          {"devices", std::move(devices)},
          {"unresolved_implied", std::move(implied)},
          {"layers", WriteNotes(plan.layers)}};
}

// An object with exactly these fields.
Result<void> CheckFields(const Json& object, std::string_view what,
                         std::initializer_list<std::pair<const char*, Json::value_t>> fields) {
  if (!object.is_object() || object.size() != fields.size()) {
    return DataLoss("{} is not an object of {} fields", what, fields.size());
  }
  for (const auto& [name, type] : fields) {
    auto field = object.find(name);
    if (field == object.end() || field->type() != type) {
      return DataLoss("{} has no right '{}'", what, name);
    }
  }
  return Ok();
}

Result<Digest> ReadDigest(const std::string& text) {
  auto digest = Digest::Parse(text);
  return digest ? digest : DataLoss("a digest that is none");
}

Result<fetcher::Repository> ReadSource(const Json& source) {
  FLOE_RETURN_IF_ERROR(
      CheckFields(source, "a source",
                  {{"registry", Json::value_t::string}, {"repository", Json::value_t::string}}));
  return fetcher::Repository{source["registry"].get<std::string>(),
                             source["repository"].get<std::string>()};
}

Result<image::PrefetchRun> ReadRun(const Json& run) {
  constexpr uint64_t kLimit = UINT32_MAX;
  if (!run.is_array() || run.size() != 2 || !run[0].is_number_unsigned() ||
      !run[1].is_number_unsigned() || run[0].get<uint64_t>() > kLimit ||
      run[1].get<uint64_t>() > kLimit) {
    return DataLoss("prefetch that is no pair of numbers");
  }
  return image::PrefetchRun{run[0].get<uint32_t>(), run[1].get<uint32_t>()};
}

Result<MountPlan::Device> ReadDevice(const Json& entry, const std::filesystem::path& directory) {
  FLOE_RETURN_IF_ERROR(CheckFields(entry, "a device",
                                   {{"key", Json::value_t::string},
                                    {"sources", Json::value_t::array},
                                    {"windows", Json::value_t::boolean},
                                    {"prefetch", Json::value_t::array}}));
  MountPlan::Device device;
  device.key = entry["key"].get<std::string>();
  FLOE_RETURN_IF_ERROR(ReadDigest("sha256:" + device.key));
  device.blob_map = directory / BlobMapFile(device.key);
  for (const Json& source : entry["sources"]) {
    FLOE_ASSIGN_OR_RETURN(fetcher::Repository repository, ReadSource(source));
    device.sources.push_back(std::move(repository));
  }
  if (entry["windows"].get<bool>()) {
    device.windows = directory / WindowsFile(device.key);
  }
  for (const Json& run : entry["prefetch"]) {
    FLOE_ASSIGN_OR_RETURN(device.prefetch.emplace_back(), ReadRun(run));
  }
  return device;
}

Result<LayerNote> ReadNote(const Json& entry) {
  FLOE_RETURN_IF_ERROR(CheckFields(entry, "a layer",
                                   {{"digest", Json::value_t::string},
                                    {"reader", Json::value_t::string},
                                    {"origin", Json::value_t::string},
                                    {"why_not", Json::value_t::string}}));
  return LayerNote{entry["digest"].get<std::string>(), entry["reader"].get<std::string>(),
                   entry["origin"].get<std::string>(), entry["why_not"].get<std::string>()};
}

Result<MountPlan> ParsePlan(const std::string& text, const std::filesystem::path& directory) {
  const Json json = Json::parse(text, nullptr, false);
  FLOE_RETURN_IF_ERROR(CheckFields(json, "the plan",
                                   {{"version", Json::value_t::number_unsigned},
                                    {"bootstrap", Json::value_t::string},
                                    {"inodes", Json::value_t::number_unsigned},
                                    {"devices", Json::value_t::array},
                                    {"unresolved_implied", Json::value_t::array},
                                    {"layers", Json::value_t::array}}));
  if (json["version"] != Json(kPlanVersion)) {
    return DataLoss("not a mount plan of version {}", kPlanVersion);
  }
  MountPlan plan;
  plan.bootstrap = directory / kBootstrapFile;
  FLOE_ASSIGN_OR_RETURN(plan.bootstrap_digest, ReadDigest(json["bootstrap"].get<std::string>()));
  plan.inode_count = json["inodes"].get<uint64_t>();
  for (const Json& entry : json["devices"]) {
    FLOE_ASSIGN_OR_RETURN(MountPlan::Device device, ReadDevice(entry, directory));
    plan.devices.push_back(std::move(device));
  }
  for (const Json& path : json["unresolved_implied"]) {
    if (!path.is_string()) {
      return DataLoss("a path that is not a string");
    }
    FLOE_ASSIGN_OR_RETURN(std::string unescaped, UnescapePath(path.get<std::string>()));
    plan.unresolved_implied.push_back(std::move(unescaped));
  }
  for (const Json& entry : json["layers"]) {
    FLOE_ASSIGN_OR_RETURN(plan.layers.emplace_back(), ReadNote(entry));
  }
  return plan;
}

// plan.json is written last, so what it names was there once.
Result<void> CheckFilesThere(const MountPlan& plan) {
  std::vector<std::filesystem::path> files = {plan.bootstrap};
  for (const MountPlan::Device& device : plan.devices) {
    files.push_back(device.blob_map);
    if (!device.windows.empty()) {
      files.push_back(device.windows);
    }
  }
  for (const std::filesystem::path& file : files) {
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(file, ignored)) {
      return DataLoss("{} is gone", file.filename().native());
    }
  }
  return Ok();
}

// The windows that this node made for a blob, if it did, beside the blob's map.
Result<void> TakeWindows(const PlanLayer& layer, const image::SourceBlob& blob,
                         const std::filesystem::path& directory, MountPlan::Device& device) {
  if (layer.windows_directory.empty() || blob.windows_digest.IsZero()) {
    return Ok();
  }
  const std::filesystem::path made = layer.windows_directory / blob.windows_digest.hex();
  std::error_code error;
  if (!std::filesystem::exists(made, error)) {
    return Ok();
  }
  const std::filesystem::path taken = directory / WindowsFile(device.key);
  FLOE_RETURN_IF_ERROR(RemoveFile(taken));
  std::filesystem::create_hard_link(made, taken, error);
  if (error) {
    FLOE_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(made, blob.windows_size_bytes));
    FLOE_RETURN_IF_ERROR(WriteFileAtomically(taken, bytes));
  }
  device.windows = taken;
  return Ok();
}

// The runs of one blob, numbered from its first unit.
std::vector<image::PrefetchRun> PrefetchOf(const image::LayerIndex& index, uint32_t blob) {
  const uint32_t first = index.data().blobs[blob].first_unit;
  std::vector<image::PrefetchRun> runs;
  for (const image::PrefetchRun& run : index.data().prefetch) {
    if (index.data().units[run.first_unit].blob == blob) {
      runs.push_back({run.first_unit - first, run.unit_count});
    }
  }
  return runs;
}

// From here on the directory is not valid, also after a power cut.
Result<void> Invalidate(const std::filesystem::path& directory) {
  FLOE_RETURN_IF_ERROR(CreateDirectories(directory));
  FLOE_RETURN_IF_ERROR(RemoveFile(directory / kPlanFile));
  FLOE_RETURN_IF_ERROR(SyncDirectory(directory));
  return SyncDirectory(directory / "..");
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

  FLOE_RETURN_IF_ERROR(Invalidate(directory));
  MountPlan plan;
  plan.bootstrap = directory / kBootstrapFile;
  plan.bootstrap_digest = Digest::Of(bootstrap.bytes);
  plan.inode_count = bootstrap.inode_count;
  FLOE_RETURN_IF_ERROR(WriteFileAtomically(plan.bootstrap, bootstrap.bytes));
  for (const erofs::BootstrapDevice& device : bootstrap.devices) {
    const PlanLayer& layer = bottom_to_top[device.layer];
    MountPlan::Device entry{device.tag, directory / BlobMapFile(device.tag), layer.sources};
    FLOE_RETURN_IF_ERROR(WriteFileAtomically(entry.blob_map, maps[device.layer][device.blob]));
    FLOE_RETURN_IF_ERROR(
        TakeWindows(layer, layer.index->data().blobs[device.blob], directory, entry));
    entry.prefetch = PrefetchOf(*layer.index, device.blob);
    plan.devices.push_back(std::move(entry));
  }
  plan.unresolved_implied = bootstrap.unresolved_implied;
  for (const PlanLayer& layer : bottom_to_top) {
    if (layer.note) {
      plan.layers.push_back(*layer.note);
    }
  }
  const std::string text = WritePlan(plan).dump(-1, ' ', false, Json::error_handler_t::replace);
  FLOE_RETURN_IF_ERROR(WriteFileAtomically(directory / kPlanFile, text));
  return plan;
}

Result<MountPlan> ReadMountPlan(const std::filesystem::path& directory) {
  FLOE_ASSIGN_OR_RETURN(std::string text, ReadFile(directory / kPlanFile, kMaxPlanBytes));
  auto plan = ParsePlan(text, directory);
  auto valid = plan ? CheckFilesThere(*plan) : Result<void>(plan.error());
  if (!valid) {
    return WithContext(std::move(valid).error(), (directory / kPlanFile).native());
  }
  return plan;
}

}  // namespace floe::prepare
