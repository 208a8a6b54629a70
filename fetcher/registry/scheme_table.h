#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "fetcher/http/url.h"

namespace floe::fetcher {

/// Decides between TLS and plain HTTP, and where a registry's API is. Plain: registries that the
/// configuration names, and loopback hosts with a port of their own that is not 443. Everything
/// else is TLS. A loopback registry that turns out to want TLS is remembered; nothing ever falls
/// from TLS to plain. Only on the loop's thread.
class SchemeTable {
 public:
  explicit SchemeTable(const std::vector<std::string>& plain_http)
      : plain_http_(plain_http.begin(), plain_http.end()) {}

  /// The root of the registry's API; target "/". InvalidArgument when `registry` is no host[:port].
  Result<Url> BaseUrl(const std::string& registry);
  /// The registry answered HTTP: what was chosen is right.
  void Confirm(const std::string& registry);
  /// A plain request was not understood. True when TLS should be tried instead: BaseUrl changes.
  bool TryTlsInstead(const std::string& registry);
  /// Whether a redirect may leave TLS for this authority.
  [[nodiscard]] bool IsConfiguredPlain(const Url& url) const;

 private:
  struct Choice {
    Url base;
    bool guessed = false;  ///< Plain, for no better reason than a loopback address.
  };
  const std::set<std::string> plain_http_;
  std::map<std::string, Choice> choices_;
};

}  // namespace floe::fetcher
