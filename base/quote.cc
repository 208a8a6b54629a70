#include "base/quote.h"

#include <fmt/format.h>

namespace floe {

std::string Quote(std::string_view bytes) {
  constexpr size_t kMaxShown = 200;
  std::string text = "'";
  for (char c : bytes.substr(0, kMaxShown)) {
    if (c >= ' ' && c <= '~') {
      text.push_back(c);
    } else {
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  text += bytes.size() > kMaxShown ? "...'" : "'";
  return text;
}

}  // namespace floe
