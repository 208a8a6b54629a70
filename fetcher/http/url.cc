#include "fetcher/http/url.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace floe::fetcher {
namespace {

constexpr uint16_t kHttpPort = 80;
constexpr uint16_t kHttpsPort = 443;

bool IsAlnum(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

uint16_t DefaultPort(std::string_view scheme) { return scheme == "https" ? kHttpsPort : kHttpPort; }

struct HostPort {
  std::string_view host;
  std::optional<uint16_t> port;
};

bool IsIpv6Literal(std::string_view host) {
  if (host.size() < 4 || host.front() != '[' || host.back() != ']') {
    return false;
  }
  host = host.substr(1, host.size() - 2);
  return std::all_of(host.begin(), host.end(), [](char c) {
    return std::isxdigit(static_cast<unsigned char>(c)) != 0 || c == ':' || c == '.';
  });
}

bool IsHostName(std::string_view host) {
  return !host.empty() && IsAlnum(host.front()) && IsAlnum(host.back()) &&
         host.find("..") == host.npos && std::all_of(host.begin(), host.end(), [](char c) {
           return IsAlnum(c) || c == '-' || c == '.' || c == '_';
         });
}

std::optional<HostPort> SplitHostPort(std::string_view text) {
  HostPort parts;
  size_t colon = text.rfind(':');
  size_t bracket = text.rfind(']');
  if (colon == text.npos || (bracket != text.npos && colon < bracket)) {
    parts.host = text;
  } else {
    std::string_view digits = text.substr(colon + 1);
    uint16_t port = 0;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc() || end != digits.data() + digits.size() || port == 0) {
      return std::nullopt;
    }
    parts.host = text.substr(0, colon);
    parts.port = port;
  }
  if (!IsHostName(parts.host) && !IsIpv6Literal(parts.host)) {
    return std::nullopt;
  }
  return parts;
}

bool HasControlOrSpace(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](unsigned char c) { return c <= 0x20 || c == 0x7F; });
}

}  // namespace

Result<Url> Url::Parse(std::string_view text) {
  size_t colon = text.find("://");
  Url url;
  url.scheme = LowerCase(text.substr(0, colon == text.npos ? 0 : colon));
  if (url.scheme != "http" && url.scheme != "https") {
    return InvalidArgument("not an http or https URL");
  }
  std::string_view rest = text.substr(colon + 3);
  if (HasControlOrSpace(rest)) {
    return InvalidArgument("URL with control characters or spaces");
  }
  rest = rest.substr(0, rest.find('#'));
  size_t end = std::min(rest.find_first_of("/?"), rest.size());
  std::optional<HostPort> authority = SplitHostPort(rest.substr(0, end));
  if (!authority) {
    return InvalidArgument("URL with a bad host or port");
  }
  url.host = LowerCase(authority->host);
  url.port = authority->port.value_or(DefaultPort(url.scheme));
  url.target = rest.substr(end);
  if (!url.target.starts_with('/')) {
    url.target.insert(0, "/");
  }
  return url;
}

Result<Url> Url::Resolve(std::string_view location) const {
  std::string base = fmt::format("{}://{}", scheme, Authority());
  if (location.starts_with("//")) {
    return Parse(fmt::format("{}:{}", scheme, location));
  }
  if (location.starts_with('/')) {
    return Parse(base + std::string(location));
  }
  // A scheme ends before anything that belongs to a path or a query.
  if (location.find("://") < location.find_first_of("/?#")) {
    return Parse(location);
  }
  std::string_view path = std::string_view(target).substr(0, target.find('?'));
  if (!location.starts_with('?')) {
    path = path.substr(0, path.rfind('/') + 1);
  }
  return Parse(fmt::format("{}{}{}", base, path, location));
}

std::string Url::Authority() const { return fmt::format("{}:{}", host, port); }

std::string Url::ToString() const {
  return port == DefaultPort(scheme) ? fmt::format("{}://{}{}", scheme, host, target)
                                     : fmt::format("{}://{}{}", scheme, Authority(), target);
}

bool IsHostPort(std::string_view text) { return SplitHostPort(text).has_value(); }

bool IsLoopbackHost(std::string_view host) {
  if (host == "localhost" || host == "[::1]") {
    return true;
  }
  // A name such as 127.evil.example is not an address.
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == host.npos &&
         std::count(host.begin(), host.end(), '.') == 3;
}

std::string PercentEncode(std::string_view text) {
  std::string encoded;
  for (char c : text) {
    if (IsAlnum(c) || c == '-' || c == '.' || c == '_' || c == '~') {
      encoded.push_back(c);
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

}  // namespace floe::fetcher
