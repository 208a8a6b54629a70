#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace floe::fetcher {

/// One challenge of a WWW-Authenticate header (RFC 9110, 11.6.1).
struct Challenge {
  std::string scheme;                         ///< Lower case: "bearer", "basic", ...
  std::map<std::string, std::string> params;  ///< Names in lower case, values unquoted.

  /// Empty when absent.
  [[nodiscard]] std::string Param(const std::string& name) const;
};

/// All challenges of one header value, in order. What cannot be understood ends the list: a bad
/// header yields fewer challenges, never an error.
[[nodiscard]] std::vector<Challenge> ParseChallenges(std::string_view header);

}  // namespace floe::fetcher
