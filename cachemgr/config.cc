#include "cachemgr/config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <toml++/toml.h>

#include "base/file.h"

namespace floe::cachemgr {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kMaxConfigBytes = 1U << 20U;

// What one key does with its value; the error says what it wants.
using Setter = std::function<Result<void>(const toml::node&, Config&)>;

struct Key {
  std::string name;
  Setter set;
};

template <typename T>
Setter Integer(T& (*field)(Config&), int64_t low, int64_t high) {
  return [=](const toml::node& node, Config& config) -> Result<void> {
    const auto value = node.value_exact<int64_t>();
    if (!value || *value < low || *value > high) {
      return InvalidArgument("wants a number from {} to {}", low, high);
    }
    field(config) = static_cast<T>(*value);
    return Ok();
  };
}

Setter Milliseconds(milliseconds& (*field)(Config&)) {
  return [=](const toml::node& node, Config& config) -> Result<void> {
    constexpr int64_t kDay = 24LL * 3600 * 1000;
    const auto value = node.value_exact<int64_t>();
    if (!value || *value < 1 || *value > kDay) {
      return InvalidArgument("wants milliseconds, from 1 to {}", kDay);
    }
    field(config) = milliseconds(*value);
    return Ok();
  };
}

Setter Text(std::string& (*field)(Config&)) {
  return [=](const toml::node& node, Config& config) -> Result<void> {
    const auto value = node.value_exact<std::string>();
    if (!value) {
      return InvalidArgument("wants a string");
    }
    field(config) = *value;
    return Ok();
  };
}

Setter Boolean(bool& (*field)(Config&)) {
  return [=](const toml::node& node, Config& config) -> Result<void> {
    const auto value = node.value_exact<bool>();
    if (!value) {
      return InvalidArgument("wants true or false");
    }
    field(config) = *value;
    return Ok();
  };
}

Setter TextList(std::vector<std::string>& (*field)(Config&)) {
  return [=](const toml::node& node, Config& config) -> Result<void> {
    const toml::array* array = node.as_array();
    std::vector<std::string> list;
    for (size_t i = 0; array != nullptr && i < array->size(); ++i) {
      const auto value = array->get(i)->value_exact<std::string>();
      if (!value) {
        array = nullptr;
        break;
      }
      list.push_back(*value);
    }
    if (array == nullptr) {
      return InvalidArgument("wants a list of strings");
    }
    field(config) = std::move(list);
    return Ok();
  };
}

// 20000000000, "20GB", "20 GiB".
Result<uint64_t> ParseSize(const toml::node& node) {
  if (const auto bytes = node.value_exact<int64_t>(); bytes && *bytes >= 0) {
    return static_cast<uint64_t>(*bytes);
  }
  const std::string text = node.value_exact<std::string>().value_or("");
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, text.data() + text.size());
  unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
  static constexpr std::array<std::pair<std::string_view, uint64_t>, 8> kUnits = {
      {{"KB", 1000ULL},
       {"MB", 1000'000ULL},
       {"GB", 1000'000'000ULL},
       {"TB", 1000'000'000'000ULL},
       {"KiB", 1ULL << 10U},
       {"MiB", 1ULL << 20U},
       {"GiB", 1ULL << 30U},
       {"TiB", 1ULL << 40U}}};
  const auto* known =
      std::ranges::find(kUnits, unit, &std::pair<std::string_view, uint64_t>::first);
  if (error != std::errc() || known == kUnits.end() || number > UINT64_MAX / known->second) {
    return InvalidArgument("wants bytes, or a size like \"20GiB\"");
  }
  return number * known->second;
}

Setter Size(uint64_t& (*field)(Config&)) {
  return [=](const toml::node& node, Config& config) -> Result<void> {
    FLOE_ASSIGN_OR_RETURN(field(config), ParseSize(node));
    return Ok();
  };
}

Result<void> SetLogLevel(const toml::node& node, Config& config) {
  FLOE_ASSIGN_OR_RETURN(config.log_level, ParseLogLevel(node.value_or(std::string())));
  return Ok();
}

// One line for each key: docs/cachemgr.md repeats it with a sentence.
const std::vector<Key>& Keys() {
  constexpr int64_t kGiB = 1LL << 30U;
  static const std::vector<Key> kKeys = {
      {"channel", Text([](Config& c) -> auto& { return c.manager.channel; })},
      {"log_level", SetLogLevel},
      {"checkpoint_interval_ms",
       Milliseconds([](Config& c) -> auto& { return c.manager.checkpoint_interval; })},
      {"strict", Boolean([](Config& c) -> auto& { return c.manager.strict; })},
      {"readers", Integer<unsigned>([](Config& c) -> auto& { return c.manager.readers; }, 1, 64)},
      {"keeper.address", Text([](Config& c) -> auto& { return c.manager.keeper_address; })},
      {"cache.max_size", Size([](Config& c) -> auto& { return c.manager.cache.max_bytes; })},
      {"cache.min_free_percent",
       Integer<unsigned>([](Config& c) -> auto& { return c.manager.cache.min_free_percent; }, 0,
                         90)},
      {"cachefiles.cull_percent",
       Integer<unsigned>([](Config& c) -> auto& { return c.manager.cull_limits.cull_percent; }, 1,
                         97)},
      {"cachefiles.run_percent",
       Integer<unsigned>([](Config& c) -> auto& { return c.manager.cull_limits.run_percent; }, 2,
                         98)},
      {"cachefiles.stop_percent",
       Integer<unsigned>([](Config& c) -> auto& { return c.manager.cull_limits.stop_percent; }, 0,
                         96)},
      {"fill.request_timeout_ms",
       Milliseconds([](Config& c) -> auto& { return c.manager.fill.request_timeout; })},
      {"fill.workers",
       Integer<unsigned>([](Config& c) -> auto& { return c.manager.fill.workers; }, 1, 256)},
      {"fill.merge_gap_bytes",
       Integer<uint64_t>([](Config& c) -> auto& { return c.manager.fill.merge.gap_bytes; }, 0,
                         kGiB)},
      {"fill.max_request_bytes",
       Integer<uint64_t>([](Config& c) -> auto& { return c.manager.fill.merge.max_request_bytes; },
                         1, kGiB)},
      {"fill.readahead_units",
       Integer<uint32_t>([](Config& c) -> auto& { return c.manager.fill.readahead_units; }, 0,
                         1024)},
      {"fill.max_prefetch_requests",
       Integer<uint32_t>([](Config& c) -> auto& { return c.manager.fill.max_prefetch_requests; }, 0,
                         1024)},
      {"registry.plain_http", TextList([](Config& c) -> auto& { return c.registry.plain_http; })},
      {"registry.ca_file", Text([](Config& c) -> auto& { return c.registry.ca_file; })},
      {"registry.docker_config_dir",
       Text([](Config& c) -> auto& { return c.registry.docker_config_dir; })},
      {"registry.max_connections_per_host",
       Integer<int>([](Config& c) -> auto& { return c.registry.max_connections_per_host; }, 1,
                    1024)},
      {"registry.http2", Boolean([](Config& c) -> auto& { return c.registry.http2; })},
      {"registry.connect_timeout_ms",
       Milliseconds([](Config& c) -> auto& { return c.registry.connect_timeout; })},
      {"registry.stall_timeout_ms",
       Milliseconds([](Config& c) -> auto& { return c.registry.stall_timeout; })},
      {"registry.max_attempts",
       Integer<int>([](Config& c) -> auto& { return c.registry.max_attempts; }, 1, 100)},
  };
  return kKeys;
}

// Levenshtein distance: how many characters differ, are missing or too many.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

Error UnknownKey(const std::string& name) {
  const auto nearest = std::ranges::min_element(
      Keys(), {}, [&](const Key& key) { return EditDistance(name, key.name); });
  return InvalidArgument("unknown key \"{}\"; did you mean \"{}\"?", name, nearest->name);
}

bool IsSection(const std::string& name) {
  return std::ranges::any_of(Keys(),
                             [&](const Key& key) { return key.name.starts_with(name + "."); });
}

Result<void> ApplyTable(const toml::table& table, const std::string& prefix, Config& config) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    if (const toml::table* section = node.as_table(); section != nullptr && IsSection(name)) {
      FLOE_RETURN_IF_ERROR(ApplyTable(*section, name + ".", config));
      continue;
    }
    const auto known = std::ranges::find(Keys(), name, &Key::name);
    if (known == Keys().end()) {
      return UnknownKey(name);
    }
    if (auto set = known->set(node, config); !set) {
      return InvalidArgument("{} {}", name, set.error().message);
    }
  }
  return Ok();
}

}  // namespace

Result<void> ApplyConfig(std::string_view toml, Config& config) {
  toml::table table;
  try {
    table = toml::parse(toml);
  } catch (const toml::parse_error& error) {
    return InvalidArgument("line {}: {}", error.source().begin.line, error.description());
  }
  Config changed = config;
  FLOE_RETURN_IF_ERROR(ApplyTable(table, "", changed));
  if (!IsChannelName(changed.manager.channel)) {
    return InvalidArgument("channel \"{}\" is none of {}", changed.manager.channel, ChannelNames());
  }
  if (const CullLimits& limits = changed.manager.cull_limits;
      limits.stop_percent >= limits.cull_percent || limits.cull_percent >= limits.run_percent) {
    return InvalidArgument(
        "cachefiles: stop_percent {} < cull_percent {} < run_percent {} is false",
        limits.stop_percent, limits.cull_percent, limits.run_percent);
  }
  config = std::move(changed);
  return Ok();
}

Result<void> ApplyConfigFile(const std::filesystem::path& path, Config& config) {
  FLOE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  if (auto applied = ApplyConfig(text, config); !applied) {
    return WithContext(applied.error(), path.native());
  }
  return Ok();
}

}  // namespace floe::cachemgr
