#include "cli/doctor.h"

#include <algorithm>
#include <charconv>
#include <compare>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <toml++/toml.h>

namespace floe::cli {
namespace {

constexpr const char* kArea = "containerd";
constexpr const char* kAnnotationsExport = "enable_remote_snapshot_annotations";

struct Release {
  int major = 0, minor = 0;
  auto operator<=>(const Release&) const = default;
};

// What changed when, in the configuration that matters here.
constexpr Release kProxyDetails{1, 7};  // exports and capabilities of proxy plugins
constexpr Release kSplitCri{2, 0};      // io.containerd.cri.v1.images
constexpr Release kLazyTransfer{2, 1};  // the transfer service knows remote snapshots

/// "1.6.20~ds1" or "v2.1.9" -> 1.6, 2.1.
Release ParseRelease(std::string_view text) {
  if (text.starts_with('v')) {
    text.remove_prefix(1);
  }
  Release release;
  const auto [rest, error] = std::from_chars(text.begin(), text.end(), release.major);
  if (error == std::errc() && rest != text.end() && *rest == '.') {
    std::from_chars(rest + 1, text.end(), release.minor);
  }
  return release;
}

Finding Make(std::string name, Verdict verdict, std::string detail) {
  return {kArea, std::move(name), verdict, std::move(detail)};
}

bool HasExport(const client::Plugin& plugin, const std::string& key, std::string_view value) {
  const auto found = plugin.exports.find(key);
  return found != plugin.exports.end() && (value.empty() || found->second == value);
}

Finding ExamineTransferExport(const client::Plugin& plugin) {
  if (HasExport(plugin, kAnnotationsExport, "true")) {
    return Make("transfer service", Verdict::kGood, "hands labels to the snapshotter");
  }
  return Make("transfer service", Verdict::kNote,
              fmt::format("pulls of ctr and nerdctl are not lazy: add {} = \"true\" to "
                          "[proxy_plugins.{}.exports]",
                          kAnnotationsExport, plugin.id));
}

Finding ExamineRoot(const client::Plugin& plugin) {
  return HasExport(plugin, "root", "")
             ? Make("exports.root", Verdict::kGood, plugin.exports.at("root"))
             : Make("exports.root", Verdict::kNote,
                    fmt::format("the kubelet cannot measure the images' file system: add root = "
                                "the snapshotter's directory to [proxy_plugins.{}.exports]",
                                plugin.id));
}

Finding ExamineRemapIds(const client::Plugin& plugin) {
  const bool has = std::find(plugin.capabilities.begin(), plugin.capabilities.end(), "remap-ids") !=
                   plugin.capabilities.end();
  return has ? Make("user namespaces", Verdict::kGood, "mapped by mount options")
             : Make("user namespaces", Verdict::kNote,
                    fmt::format("a container with its own user namespace downloads the whole "
                                "image: add capabilities = [\"remap-ids\"] to [proxy_plugins.{}]",
                                plugin.id));
}

/// plugins."<plugin>" of a containerd configuration.
const toml::table* PluginTable(const toml::table& config, std::string_view plugin) {
  const toml::table* plugins = config["plugins"].as_table();
  const toml::node* node = plugins == nullptr ? nullptr : plugins->get(plugin);
  return node == nullptr ? nullptr : node->as_table();
}

/// The two settings of the CRI plugin that decide whether a pod's pull can be lazy.
struct CriSettings {
  std::string section;
  std::string snapshotter;
  bool disable_snapshot_annotations = true;  // containerd's default
};

CriSettings ReadCriSettings(const toml::table& config, Release release) {
  CriSettings settings;
  const toml::table* table = nullptr;
  if (release >= kSplitCri) {
    settings.section = "[plugins.'io.containerd.cri.v1.images']";
    table = PluginTable(config, "io.containerd.cri.v1.images");
  } else {
    settings.section = "[plugins.\"io.containerd.grpc.v1.cri\".containerd]";
    if (const toml::table* cri = PluginTable(config, "io.containerd.grpc.v1.cri")) {
      table = (*cri)["containerd"].as_table();
    }
  }
  if (table != nullptr) {
    settings.snapshotter = (*table)["snapshotter"].value_or(std::string());
    settings.disable_snapshot_annotations = (*table)["disable_snapshot_annotations"].value_or(true);
  }
  return settings;
}

void ExamineCri(const toml::table& config, Release release, const std::string& snapshotter,
                std::vector<Finding>& findings) {
  const CriSettings settings = ReadCriSettings(config, release);
  findings.push_back(
      settings.snapshotter == snapshotter
          ? Make("CRI snapshotter", Verdict::kGood, "pods use " + snapshotter)
          : Make("CRI snapshotter", Verdict::kMissing,
                 fmt::format("pods use {}: set snapshotter = \"{}\" in {}",
                             settings.snapshotter.empty() ? "overlayfs" : settings.snapshotter,
                             snapshotter, settings.section)));
  findings.push_back(
      !settings.disable_snapshot_annotations
          ? Make("CRI labels", Verdict::kGood, "handed to the snapshotter")
          : Make("CRI labels", Verdict::kMissing,
                 "pods' pulls are never lazy: set disable_snapshot_annotations = false in " +
                     settings.section));
}

Finding ExamineProxyPlugin(const toml::table& config, const std::string& snapshotter) {
  const toml::table* plugin = config["proxy_plugins"][snapshotter].as_table();
  if (plugin == nullptr) {
    return Make("configuration", Verdict::kMissing,
                fmt::format("no [proxy_plugins.{}]: add type = \"snapshot\" and address = the "
                            "snapshotter's socket",
                            snapshotter));
  }
  const auto type = (*plugin)["type"].value_or(std::string());
  if (type != "snapshot") {
    return Make("configuration", Verdict::kMissing,
                fmt::format("[proxy_plugins.{}] has type \"{}\": it must be \"snapshot\"",
                            snapshotter, type));
  }
  return Make("configuration", Verdict::kGood,
              fmt::format("[proxy_plugins.{}] at {}", snapshotter,
                          (*plugin)["address"].value_or(std::string())));
}

Finding ExamineUnpackConfig(const toml::table& config, const std::string& snapshotter) {
  const toml::table* transfer = PluginTable(config, "io.containerd.transfer.v1.local");
  const toml::array* entries =
      transfer == nullptr ? nullptr : (*transfer)["unpack_config"].as_array();
  const bool named =
      entries != nullptr && std::any_of(entries->begin(), entries->end(), [&](const auto& entry) {
        const toml::table* table = entry.as_table();
        return table != nullptr && (*table)["snapshotter"].value_or(std::string()) == snapshotter;
      });
  return named ? Make("transfer service unpacks", Verdict::kGood, "with " + snapshotter)
               : Make("transfer service unpacks", Verdict::kNote,
                      fmt::format("not with {0}: add [[plugins.'io.containerd.transfer.v1.local'."
                                  "unpack_config]] with platform = \"linux\", snapshotter = "
                                  "\"{0}\", differ = \"walking\"",
                                  snapshotter));
}

std::optional<toml::table> ParseToml(const std::string& text, std::string& error) {
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& failure) {
    error = std::string(failure.description());
    return std::nullopt;
  }
}

}  // namespace

std::string VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kGood:
      return "GOOD";
    case Verdict::kNote:
      return "NOTE";
    case Verdict::kMissing:
      return "MISSING";
  }
  return "";
}

std::vector<Finding> ExamineChannels(const Result<cachemgr::v1::ProbeReply>& probe) {
  constexpr const char* kCacheManager = "cache manager";
  if (!probe.has_value()) {
    return {{kCacheManager, "service", Verdict::kNote, probe.error().message}};
  }
  std::vector<Finding> findings;
  bool any = false;
  for (const auto& channel : probe->channels()) {
    any = any || channel.usable();
    const bool silent = channel.usable() && channel.detail().empty();
    findings.push_back({kCacheManager, "channel " + channel.name(),
                        channel.usable() ? Verdict::kGood : Verdict::kNote,
                        silent ? "works" : channel.detail()});
  }
  if (!any) {
    findings.push_back({kCacheManager, "channels", Verdict::kMissing,
                        "none is usable: lazy layers cannot be read on this machine"});
  }
  return findings;
}

std::vector<Finding> ExamineMounts(const Result<cachemgr::v1::StatusReply>& status) {
  constexpr const char* kCacheManager = "cache manager";
  if (!status.has_value()) {
    return {};
  }
  std::vector<Finding> findings;
  for (const auto& mount : status->mounts()) {
    if (mount.lost()) {
      findings.push_back(
          {kCacheManager, "mount " + mount.id(), Verdict::kMissing,
           "LOST: keeper and cache manager were gone at once, and what was not cached at " +
               mount.target() + " may have been read as zeros; end its containers"});
    }
  }
  const bool connected = status->keeper() == "connected";
  findings.push_back({kCacheManager, "keeper", connected ? Verdict::kGood : Verdict::kNote,
                      connected ? "holds what a restart needs"
                                : "a restart disturbs running containers: " + status->keeper()});
  return findings;
}

std::vector<Finding> ExaminePlugins(const std::string& version,
                                    const std::vector<client::Plugin>& plugins,
                                    const std::string& snapshotter) {
  const Release release = ParseRelease(version);
  std::vector<Finding> findings = {Make("version", Verdict::kGood, version)};
  const auto plugin =
      std::find_if(plugins.begin(), plugins.end(), [&](const client::Plugin& candidate) {
        return candidate.type == "io.containerd.snapshotter.v1" && candidate.id == snapshotter;
      });
  if (plugin == plugins.end()) {
    findings.push_back(
        Make("plugin", Verdict::kMissing,
             fmt::format("containerd has no snapshotter {0}: add [proxy_plugins.{0}] with type = "
                         "\"snapshot\" and address = the snapshotter's socket to its "
                         "configuration, and restart it",
                         snapshotter)));
    return findings;
  }
  if (!plugin->init_error.empty()) {
    findings.push_back(Make("plugin", Verdict::kMissing, "not loaded: " + plugin->init_error));
    return findings;
  }
  findings.push_back(Make("plugin", Verdict::kGood, snapshotter + " is loaded"));
  if (release >= kLazyTransfer) {
    findings.push_back(ExamineTransferExport(*plugin));
  }
  if (release >= kProxyDetails) {
    findings.push_back(ExamineRoot(*plugin));
    findings.push_back(ExamineRemapIds(*plugin));
  }
  return findings;
}

std::vector<Finding> ExamineContainerdConfig(const std::string& toml, const std::string& version,
                                             const std::string& snapshotter, bool cri) {
  std::string error;
  const auto config = ParseToml(toml, error);
  if (!config.has_value()) {
    return {Make("configuration", Verdict::kMissing, "it is not TOML: " + error)};
  }
  const Release release = ParseRelease(version);
  std::vector<Finding> findings = {ExamineProxyPlugin(*config, snapshotter)};
  if (cri) {
    ExamineCri(*config, release, snapshotter, findings);
  }
  if (release >= kLazyTransfer) {
    findings.push_back(ExamineUnpackConfig(*config, snapshotter));
  }
  return findings;
}

}  // namespace floe::cli
