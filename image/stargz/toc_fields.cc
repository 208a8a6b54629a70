#include "image/stargz/toc_fields.h"

namespace floe::image {
namespace {

constexpr uint32_t kNotBase64 = 64;

uint32_t Base64Value(char c) {
  if (c >= 'A' && c <= 'Z') {
    return static_cast<uint32_t>(c - 'A');
  }
  if (c >= 'a' && c <= 'z') {
    return static_cast<uint32_t>(c - 'a') + 26;
  }
  if (c >= '0' && c <= '9') {
    return static_cast<uint32_t>(c - '0') + 52;
  }
  return c == '+' ? 62 : c == '/' ? 63 : kNotBase64;
}

}  // namespace

std::optional<std::string> DecodeBase64(std::string_view text) {
  if (text.size() % 4 != 0) {
    return std::nullopt;
  }
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const uint32_t value = i >= text.size() - padding ? 0 : Base64Value(text[i]);
    if (value == kNotBase64) {
      return std::nullopt;
    }
    bits = (bits << 6U) | value;
    if (i % 4 == 3) {
      bytes.push_back(static_cast<char>(bits >> 16U));
      bytes.push_back(static_cast<char>(bits >> 8U));
      bytes.push_back(static_cast<char>(bits));
      bits = 0;
    }
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

}  // namespace floe::image
