#include "fetcher/auth/docker_config.h"

#include <utility>

#include <nlohmann/json.hpp>

namespace floe::fetcher {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kDockerHub = "docker.io";
constexpr std::string_view kDockerHubKey = "https://index.docker.io/v1/";

/// Keys are written in many ways: with a scheme, with /v1/ or /v2/, as one of Docker Hub's hosts.
std::string NormaliseKey(std::string_view key) {
  for (std::string_view scheme : {"https://", "http://"}) {
    if (key.starts_with(scheme)) {
      key.remove_prefix(scheme.size());
    }
  }
  key = key.substr(0, key.find('/'));
  bool hub = key == "index.docker.io" || key == "registry-1.docker.io";
  return std::string(hub ? kDockerHub : key);
}

std::string Text(const Json& object, const char* key) {
  auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

Credential ParseEntry(const Json& entry) {
  Credential credential{.username = Text(entry, "username"),
                        .password = Text(entry, "password"),
                        .identity_token = Text(entry, "identitytoken"),
                        .registry_token = Text(entry, "registrytoken")};
  std::string pair = Base64Decode(Text(entry, "auth"));
  size_t colon = pair.find(':');
  if (colon != std::string::npos) {
    credential.username = pair.substr(0, colon);
    credential.password = pair.substr(colon + 1);
    // docker pads with zero bytes.
    credential.password.resize(credential.password.find_last_not_of('\0') + 1);
  }
  return credential;
}

}  // namespace

Result<DockerConfig> DockerConfig::Parse(std::string_view text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return InvalidArgument("docker config.json is not a JSON object");
  }
  DockerConfig config;
  config.store_ = Text(json, "credsStore");
  if (auto auths = json.find("auths"); auths != json.end() && auths->is_object()) {
    for (const auto& [key, entry] : auths->items()) {
      Credential credential = entry.is_object() ? ParseEntry(entry) : Credential();
      if (!credential.empty()) {
        config.auths_[NormaliseKey(key)] = std::move(credential);
      }
    }
  }
  if (auto helpers = json.find("credHelpers"); helpers != json.end() && helpers->is_object()) {
    for (const auto& [key, helper] : helpers->items()) {
      if (helper.is_string()) {
        config.helpers_[NormaliseKey(key)] = helper.get<std::string>();
      }
    }
  }
  return config;
}

std::string DockerConfig::HelperFor(std::string_view registry) const {
  auto found = helpers_.find(NormaliseKey(registry));
  return found == helpers_.end() ? store_ : found->second;
}

Credential DockerConfig::CredentialFor(std::string_view registry) const {
  auto found = auths_.find(NormaliseKey(registry));
  return found == auths_.end() ? Credential() : found->second;
}

std::string CredentialServerUrl(std::string_view registry) {
  std::string key = NormaliseKey(registry);
  return key == kDockerHub ? std::string(kDockerHubKey) : key;
}

}  // namespace floe::fetcher
