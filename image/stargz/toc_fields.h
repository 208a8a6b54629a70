#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace floe::image {

/// RFC 4648 base64 with padding; nullopt when it is not.
std::optional<std::string> DecodeBase64(std::string_view text);

}  // namespace floe::image
