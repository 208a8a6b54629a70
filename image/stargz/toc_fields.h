#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace floe::image {

/// The text forms of values in a table of contents, which Go's encoding/json writes.

/// RFC 4648 base64 with padding; nullopt when it is not.
std::optional<std::string> DecodeBase64(std::string_view text);

struct Timestamp {
  int64_t seconds = 0;  ///< Since 1970, UTC.
  uint32_t nanoseconds = 0;
};
/// RFC 3339 ("2023-11-14T22:13:20.5+01:00"); further digits than nanoseconds are dropped. nullopt
/// when it is not.
std::optional<Timestamp> ParseRfc3339(std::string_view text);

}  // namespace floe::image
