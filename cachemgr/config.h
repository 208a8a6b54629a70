#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/log.h"
#include "base/result.h"
#include "cachemgr/manager.h"
#include "fetcher/registry_client.h"

namespace floe::cachemgr {

/// Everything that can be configured; the file's keys and their units stand in docs/cachemgr.md.
struct Config {
  ManagerOptions manager;
  fetcher::RegistryOptions registry;
  LogLevel log_level = LogLevel::kInfo;
};

/// Reads TOML over `config`: what it does not name keeps its value. InvalidArgument: not TOML, a
/// value of the wrong type or range, or an unknown key (with the nearest known one).
Result<void> ApplyConfig(std::string_view toml, Config& config);
/// The same for a file.
Result<void> ApplyConfigFile(const std::filesystem::path& path, Config& config);

}  // namespace floe::cachemgr
