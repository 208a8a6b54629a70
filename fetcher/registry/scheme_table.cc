#include "fetcher/registry/scheme_table.h"

#include <string_view>

namespace floe::fetcher {
namespace {

constexpr uint16_t kHttpsPort = 443;

/// Docker Hub's API lives on another host than its name says.
std::string ApiHost(const std::string& registry) {
  bool hub = registry == "docker.io" || registry == "index.docker.io";
  return hub ? "registry-1.docker.io" : registry;
}

}  // namespace

Result<Url> SchemeTable::BaseUrl(const std::string& registry) {
  auto known = choices_.find(registry);
  if (known != choices_.end()) {
    return known->second.base;
  }
  Result<Url> url = Url::Parse("https://" + ApiHost(registry));
  if (!url || !IsHostPort(registry)) {
    return InvalidArgument("'{}' is no registry: host or host:port", registry.substr(0, 255));
  }
  bool configured = plain_http_.contains(registry);
  bool guessed = !configured && IsLoopbackHost(url->host) && url->port != kHttpsPort;
  if (configured || guessed) {
    url = Url::Parse("http://" + registry);
  }
  choices_[registry] = {*url, guessed};
  return url;
}

void SchemeTable::Confirm(const std::string& registry) { choices_[registry].guessed = false; }

bool SchemeTable::TryTlsInstead(const std::string& registry) {
  Choice& choice = choices_[registry];
  if (!choice.guessed) {
    return false;
  }
  choice.guessed = false;
  choice.base.scheme = "https";
  return true;
}

bool SchemeTable::IsConfiguredPlain(const Url& url) const {
  return plain_http_.contains(url.Authority()) || plain_http_.contains(url.host);
}

}  // namespace floe::fetcher
