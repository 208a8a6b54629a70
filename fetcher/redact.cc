#include "fetcher/redact.h"

#include <algorithm>
#include <cctype>

namespace floe::fetcher {
namespace {

constexpr size_t kMaxTextBytes = 300;
constexpr std::string_view kHidden = "...";
// What ends a URL within a text.
constexpr std::string_view kUrlEnd = " \t\r\n\"'<>`{}|\\^";

std::string Hide(std::string_view url) {
  size_t start = url.find("://") + 3;
  size_t authority_end = std::min(url.find_first_of("/?#", start), url.size());
  std::string redacted(url.substr(0, start));
  size_t at = url.substr(0, authority_end).rfind('@');
  if (at != url.npos && at >= start) {
    redacted += kHidden;
    redacted += '@';
    start = at + 1;
  }
  size_t path_end = std::min(url.find_first_of("?#", start), url.size());
  redacted += url.substr(start, path_end - start);
  if (path_end < url.size()) {
    redacted += '?';
    redacted += kHidden;
  }
  return redacted;
}

bool StartsWithIgnoringCase(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), text.begin(), [](char a, char b) {
           return a == std::tolower(static_cast<unsigned char>(b));
         });
}

/// Length of the credentials' scheme with its space, if the text starts with one.
size_t CredentialPrefix(std::string_view text) {
  for (std::string_view scheme : {"bearer ", "basic "}) {
    if (StartsWithIgnoringCase(text, scheme)) {
      return scheme.size();
    }
  }
  return 0;
}

}  // namespace

std::string RedactUrl(std::string_view url) {
  return url.find("://") == url.npos ? RedactText(url) : RedactText(Hide(url));
}

std::string RedactText(std::string_view text) {
  std::string redacted;
  for (size_t i = 0; i < text.size() && redacted.size() < kMaxTextBytes;) {
    std::string_view rest = text.substr(i);
    if (StartsWithIgnoringCase(rest, "http://") || StartsWithIgnoringCase(rest, "https://")) {
      std::string_view url = rest.substr(0, rest.find_first_of(kUrlEnd));
      redacted += Hide(url);
      i += url.size();
    } else if (size_t prefix = CredentialPrefix(rest); prefix > 0) {
      redacted += rest.substr(0, prefix);
      redacted += kHidden;
      i += std::min(rest.size(), rest.find_first_of(" ,\t\r\n", prefix));
    } else {
      auto c = static_cast<unsigned char>(text[i]);
      redacted += c < 0x20 || c == 0x7F ? ' ' : text[i];
      ++i;
    }
  }
  if (redacted.size() >= kMaxTextBytes) {
    redacted.resize(kMaxTextBytes);
    redacted += kHidden;
  }
  return redacted;
}

}  // namespace floe::fetcher
