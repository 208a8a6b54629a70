#include "image/convert/base64.h"

#include <cstdint>

namespace floe::image {

std::string Base64Encode(std::string_view bytes) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t triple = 0;
    for (size_t j = i; j < i + 3; ++j) {
      triple = (triple << 8U) | (j < bytes.size() ? static_cast<uint8_t>(bytes[j]) : 0U);
    }
    for (unsigned j = 0; j < 4; ++j) {
      text.push_back(i + j <= bytes.size() ? kDigits[(triple >> (18 - 6 * j)) & 63U] : '=');
    }
  }
  return text;
}

}  // namespace floe::image
