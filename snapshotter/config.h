#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/log.h"
#include "base/result.h"
#include "fetcher/registry_client.h"
#include "prepare/image_resolver.h"

namespace floe::snapshotter {

/// The configuration file of floe-snapshotter (TOML; docs/snapshotter.md lists the keys with type,
/// unit and default).
struct Config {
  LogLevel log_level = LogLevel::kInfo;
  /// How long a Prepare may wait for the registry before the layer is unpacked instead.
  std::chrono::milliseconds resolve_timeout{20000};
  prepare::IndexTrust index_trust = prepare::IndexTrust::kRepository;
  /// Layers without any index are streamed; else the image is unpacked.
  bool stream_missing = true;
  /// Indexes of streamed layers are pushed beside their images.
  bool publish_streamed = false;
  bool allow_unverified = false;
  fetcher::RegistryOptions registry;
};

/// InvalidArgument names the line, or the unknown key and the known one that is nearest to it.
/// `source` is what messages call the text.
Result<Config> ParseConfig(std::string_view text, const std::string& source);
Result<Config> ReadConfig(const std::filesystem::path& path);

}  // namespace floe::snapshotter
