#include "snapshotter/filter_quote.h"

#include <cstdint>

namespace floe::snapshotter {
namespace {

constexpr char32_t kMaxRune = 0x10ffff;

bool IsSurrogate(char32_t rune) { return rune >= 0xd800 && rune <= 0xdfff; }

void AppendRune(std::string& out, char32_t rune) {
  const auto tail = [&](int shift) {
    out.push_back(static_cast<char>(0x80U | ((rune >> shift) & 0x3fU)));
  };
  if (rune < 0x80) {
    out.push_back(static_cast<char>(rune));
  } else if (rune < 0x800) {
    out.push_back(static_cast<char>(0xc0U | (rune >> 6U)));
    tail(0);
  } else if (rune < 0x10000) {
    out.push_back(static_cast<char>(0xe0U | (rune >> 12U)));
    tail(6);
    tail(0);
  } else {
    out.push_back(static_cast<char>(0xf0U | (rune >> 18U)));
    tail(12);
    tail(6);
    tail(0);
  }
}

int DigitValue(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  if (c >= 'A' && c <= 'F') {
    return c - 'A' + 10;
  }
  return 16;
}

// `count` digits of `base` at `at`; moves `at` behind them.
std::optional<char32_t> ReadDigits(std::string_view text, size_t& at, int base, int count) {
  char32_t value = 0;
  for (int i = 0; i < count; ++i, ++at) {
    if (at >= text.size() || DigitValue(text[at]) >= base) {
      return std::nullopt;
    }
    value = value * static_cast<char32_t>(base) + static_cast<char32_t>(DigitValue(text[at]));
  }
  return value;
}

std::optional<char> SimpleEscape(char c, char quote) {
  switch (c) {
    case 'a':
      return '\a';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'v':
      return '\v';
    case '\\':
      return '\\';
    default:
      return c == quote ? std::optional<char>(quote) : std::nullopt;
  }
}

// The escape whose backslash stands before `at`.
bool AppendEscape(std::string_view text, size_t& at, char quote, std::string& out) {
  if (at >= text.size()) {
    return false;
  }
  if (auto simple = SimpleEscape(text[at], quote)) {
    out.push_back(*simple);
    ++at;
    return true;
  }
  constexpr char32_t kMaxByte = 0xff;
  if (text[at] >= '0' && text[at] <= '7') {
    const auto byte = ReadDigits(text, at, 8, 3);
    if (!byte || *byte > kMaxByte) {
      return false;
    }
    out.push_back(static_cast<char>(static_cast<uint8_t>(*byte)));
    return true;
  }
  const char form = text[at++];
  if (form == 'x') {
    const auto byte = ReadDigits(text, at, 16, 2);
    if (byte) {
      out.push_back(static_cast<char>(static_cast<uint8_t>(*byte)));
    }
    return byte.has_value();
  }
  if (form != 'u' && form != 'U') {
    return false;
  }
  const auto rune = ReadDigits(text, at, 16, form == 'u' ? 4 : 8);
  if (!rune || *rune > kMaxRune || IsSurrogate(*rune)) {
    return false;
  }
  AppendRune(out, *rune);
  return true;
}

}  // namespace

std::optional<Rune> DecodeRune(std::string_view text) {
  if (text.empty()) {
    return std::nullopt;
  }
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) {
    return Rune{lead, 1};
  }
  size_t bytes = 0;
  char32_t value = 0;
  char32_t smallest = 0;
  if ((lead & 0xe0U) == 0xc0) {
    bytes = 2, value = lead & 0x1fU, smallest = 0x80;
  } else if ((lead & 0xf0U) == 0xe0) {
    bytes = 3, value = lead & 0x0fU, smallest = 0x800;
  } else if ((lead & 0xf8U) == 0xf0) {
    bytes = 4, value = lead & 0x07U, smallest = 0x10000;
  } else {
    return std::nullopt;
  }
  if (text.size() < bytes) {
    return std::nullopt;
  }
  for (size_t i = 1; i < bytes; ++i) {
    const auto tail = static_cast<uint8_t>(text[i]);
    if ((tail & 0xc0U) != 0x80) {
      return std::nullopt;
    }
    value = (value << 6U) | (tail & 0x3fU);
  }
  if (value < smallest || value > kMaxRune || IsSurrogate(value)) {
    return std::nullopt;
  }
  return Rune{value, bytes};
}

std::optional<std::string> Unquote(std::string_view text, size_t& consumed) {
  const char quote = text[0];
  std::string out;
  size_t at = 1;
  while (at < text.size() && text[at] != quote) {
    if (text[at] == '\n' || text[at] == '\0') {
      return std::nullopt;
    }
    if (text[at] == '\\') {
      ++at;
      if (!AppendEscape(text, at, quote, out)) {
        return std::nullopt;
      }
      continue;
    }
    const auto rune = DecodeRune(text.substr(at));
    if (!rune) {
      return std::nullopt;
    }
    out.append(text.substr(at, rune->bytes));
    at += rune->bytes;
  }
  if (at >= text.size()) {
    return std::nullopt;
  }
  consumed = at + 1;
  return out;
}

}  // namespace floe::snapshotter
