#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

/// What the filter language borrows from Go: UTF-8 and quoted strings.
namespace floe::snapshotter {

/// A decoded code point and how many bytes it took.
struct Rune {
  char32_t value = 0;
  size_t bytes = 0;
};

/// The first code point of `text`. Nothing for an empty text or what is not valid UTF-8.
std::optional<Rune> DecodeRune(std::string_view text);

/// `text` starts with a quote character. The string that it quotes, and in `consumed` the bytes up
/// to and with the closing quote. Nothing when it does not end, holds a line break or an escape
/// that Go does not know.
std::optional<std::string> Unquote(std::string_view text, size_t& consumed);

}  // namespace floe::snapshotter
