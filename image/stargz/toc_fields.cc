#include "image/stargz/toc_fields.h"

#include <chrono>

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

// Takes exactly `count` decimal digits off the front.
std::optional<int> TakeDigits(std::string_view& text, size_t count) {
  if (text.size() < count) {
    return std::nullopt;
  }
  int value = 0;
  for (const char c : text.substr(0, count)) {
    if (c < '0' || c > '9') {
      return std::nullopt;
    }
    value = value * 10 + (c - '0');
  }
  text.remove_prefix(count);
  return value;
}

bool Take(std::string_view& text, char c) {
  if (!text.starts_with(c)) {
    return false;
  }
  text.remove_prefix(1);
  return true;
}

// "A SEPARATOR B SEPARATOR C", the first with so many digits, the others with two.
struct Triple {
  int first = 0, second = 0, third = 0;
};
std::optional<Triple> TakeTriple(std::string_view& text, size_t digits, char separator) {
  const auto first = TakeDigits(text, digits);
  if (!first || !Take(text, separator)) {
    return std::nullopt;
  }
  const auto second = TakeDigits(text, 2);
  if (!second || !Take(text, separator)) {
    return std::nullopt;
  }
  const auto third = TakeDigits(text, 2);
  if (!third) {
    return std::nullopt;
  }
  return Triple{*first, *second, *third};
}

// ".5": 500000000. Without a point: 0.
std::optional<uint32_t> TakeFraction(std::string_view& text) {
  if (!Take(text, '.')) {
    return 0;
  }
  uint32_t value = 0;
  uint32_t weight = 100'000'000;
  size_t digits = 0;
  for (; digits < text.size() && text[digits] >= '0' && text[digits] <= '9'; ++digits) {
    value += static_cast<uint32_t>(text[digits] - '0') * weight;
    weight /= 10;
  }
  text.remove_prefix(digits);
  return digits > 0 ? std::optional(value) : std::nullopt;
}

// All of "Z" or "+HH:MM", in seconds east of UTC.
std::optional<int> ParseZone(std::string_view text) {
  if (text == "Z") {
    return 0;
  }
  const bool west = text.starts_with('-');
  if (!Take(text, '+') && !Take(text, '-')) {
    return std::nullopt;
  }
  const auto hours = TakeDigits(text, 2);
  if (!hours || *hours > 23 || !Take(text, ':')) {
    return std::nullopt;
  }
  const auto minutes = TakeDigits(text, 2);
  if (!minutes || *minutes > 59 || !text.empty()) {
    return std::nullopt;
  }
  const int seconds = *hours * 3600 + *minutes * 60;
  return west ? -seconds : seconds;
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

std::optional<Timestamp> ParseRfc3339(std::string_view text) {
  const auto date = TakeTriple(text, 4, '-');
  if (!date || !Take(text, 'T')) {
    return std::nullopt;
  }
  const std::chrono::year_month_day day{std::chrono::year(date->first),
                                        std::chrono::month(static_cast<unsigned>(date->second)),
                                        std::chrono::day(static_cast<unsigned>(date->third))};
  const auto time = TakeTriple(text, 2, ':');
  if (!day.ok() || !time || time->first > 23 || time->second > 59 || time->third > 59) {
    return std::nullopt;
  }
  const auto fraction = TakeFraction(text);
  const auto zone = ParseZone(text);
  if (!fraction || !zone) {
    return std::nullopt;
  }
  const int64_t days = std::chrono::sys_days(day).time_since_epoch().count();
  return Timestamp{
      .seconds = days * 86400 + time->first * 3600 + time->second * 60 + time->third - *zone,
      .nanoseconds = *fraction};
}

}  // namespace floe::image
