#include "snapshotter/config.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include <toml++/toml.h>

#include "base/file.h"

namespace floe::snapshotter {
namespace {

constexpr uint64_t kMaxConfigBytes = 1U << 20U;
constexpr int64_t kMaxTimeoutMs = 600'000;

/// Takes the value of one key; the message of its error says what is wrong with it.
using Setter = std::function<Result<void>(const toml::node&, Config&)>;

Result<std::string> AsString(const toml::node& node) {
  if (const auto value = node.value_exact<std::string>()) {
    return *value;
  }
  return InvalidArgument("must be a string");
}

Setter StringKey(std::function<std::string&(Config&)> member) {
  return [member = std::move(member)](const toml::node& node, Config& config) -> Result<void> {
    FLOE_ASSIGN_OR_RETURN(member(config), AsString(node));
    return Ok();
  };
}

Result<void> SetLogLevel(const toml::node& node, Config& config) {
  FLOE_ASSIGN_OR_RETURN(std::string text, AsString(node));
  FLOE_ASSIGN_OR_RETURN(config.log_level, ParseLogLevel(text));
  return Ok();
}

Result<void> SetResolveTimeout(const toml::node& node, Config& config) {
  const auto milliseconds = node.value_exact<int64_t>();
  if (!milliseconds || *milliseconds < 1 || *milliseconds > kMaxTimeoutMs) {
    return InvalidArgument("must be a number of milliseconds from 1 to {}", kMaxTimeoutMs);
  }
  config.resolve_timeout = std::chrono::milliseconds(*milliseconds);
  return Ok();
}

Result<void> SetTrust(const toml::node& node, Config& config) {
  FLOE_ASSIGN_OR_RETURN(std::string text, AsString(node));
  FLOE_ASSIGN_OR_RETURN(config.index_trust, prepare::ParseIndexTrust(text));
  return Ok();
}

Result<void> SetFallback(const toml::node& node, Config& config) {
  FLOE_ASSIGN_OR_RETURN(const std::string text, AsString(node));
  if (text != "stream" && text != "unpack") {
    return InvalidArgument("index.fallback is '{}': use stream or unpack", text);
  }
  config.stream_missing = text == "stream";
  return Ok();
}

Setter BoolKey(bool Config::* member) {
  return [member](const toml::node& node, Config& config) -> Result<void> {
    const auto value = node.value_exact<bool>();
    if (!value) {
      return InvalidArgument("must be true or false");
    }
    config.*member = *value;
    return Ok();
  };
}

Result<void> SetPlainHttp(const toml::node& node, Config& config) {
  const toml::array* registries = node.as_array();
  if (registries == nullptr) {
    return InvalidArgument("must be a list of strings");
  }
  for (const toml::node& registry : *registries) {
    FLOE_ASSIGN_OR_RETURN(std::string host, AsString(registry));
    config.registry.plain_http.push_back(std::move(host));
  }
  return Ok();
}

const std::map<std::string, Setter>& Keys() {
  static const std::map<std::string, Setter> keys = {
      {"log_level", SetLogLevel},
      {"resolve_timeout_ms", SetResolveTimeout},
      {"index.trust", SetTrust},
      {"index.fallback", SetFallback},
      {"index.publish", BoolKey(&Config::publish_streamed)},
      {"index.allow_unverified", BoolKey(&Config::allow_unverified)},
      {"registry.plain_http", SetPlainHttp},
      {"registry.docker_config_dir",
       StringKey([](Config& config) -> std::string& { return config.registry.docker_config_dir; })},
      {"registry.ca_file",
       StringKey([](Config& config) -> std::string& { return config.registry.ca_file; })},
  };
  return keys;
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row.back();
}

Error UnknownKey(const std::string& key) {
  const auto& keys = Keys();
  const auto nearest =
      std::min_element(keys.begin(), keys.end(), [&](const auto& a, const auto& b) {
        return EditDistance(key, a.first) < EditDistance(key, b.first);
      });
  return InvalidArgument("unknown key {}; the nearest known one is {}", key, nearest->first);
}

bool IsSection(const std::string& key) {
  return std::any_of(Keys().begin(), Keys().end(),
                     [&](const auto& known) { return known.first.starts_with(key + "."); });
}

Result<void> Apply(const toml::table& table, const std::string& prefix, Config& config) {
  for (const auto& [name, node] : table) {
    const std::string key = prefix + std::string(name.str());
    if (const toml::table* section = node.as_table(); section != nullptr && IsSection(key)) {
      FLOE_RETURN_IF_ERROR(Apply(*section, key + ".", config));
      continue;
    }
    const auto known = Keys().find(key);
    if (known == Keys().end()) {
      return UnknownKey(key);
    }
    if (auto set = known->second(node, config); !set) {
      return WithContext(set.error(), key);
    }
  }
  return Ok();
}

}  // namespace

Result<Config> ParseConfig(std::string_view text, const std::string& source) {
  try {
    const toml::table table = toml::parse(text);
    Config config;
    if (auto applied = Apply(table, "", config); !applied) {
      return WithContext(applied.error(), source);
    }
    return config;
  } catch (const toml::parse_error& error) {
    return InvalidArgument("{}: line {}: {}", source, error.source().begin.line,
                           error.description());
  }
}

Result<Config> ReadConfig(const std::filesystem::path& path) {
  FLOE_ASSIGN_OR_RETURN(std::string text, ReadFile(path, kMaxConfigBytes));
  return ParseConfig(text, path.native());
}

}  // namespace floe::snapshotter
