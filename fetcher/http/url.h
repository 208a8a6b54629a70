#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

/// Just enough of RFC 3986 for registries: absolute http(s) URLs and what a Location header holds.
namespace floe::fetcher {

struct Url {
  std::string scheme;  ///< "http" or "https".
  std::string host;    ///< Lower case; an IPv6 address keeps its brackets.
  uint16_t port = 0;   ///< The scheme's own when the URL names none.
  std::string target;  ///< Path and query, from the first '/'; no fragment.

  /// InvalidArgument for anything but http and https, without repeating the URL: it may hold
  /// secrets. User information is refused.
  static Result<Url> Parse(std::string_view text);
  /// What a Location header of an answer from this URL means.
  [[nodiscard]] Result<Url> Resolve(std::string_view location) const;
  [[nodiscard]] std::string ToString() const;
  /// "host:port": requests to one authority share connections and may share credentials.
  [[nodiscard]] std::string Authority() const;
};

/// "host", "host:port", "[v6]:port", as references and configuration name registries.
[[nodiscard]] bool IsHostPort(std::string_view text);

/// 127.0.0.0/8, [::1] and localhost; `host` as in Url.
[[nodiscard]] bool IsLoopbackHost(std::string_view host);

/// Escapes everything but RFC 3986's unreserved characters, for query values and forms.
[[nodiscard]] std::string PercentEncode(std::string_view text);

}  // namespace floe::fetcher
