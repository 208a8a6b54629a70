#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "fetcher/auth/credential.h"

namespace floe::fetcher {

/// What docker's config.json says about credentials. A value; immutable once parsed.
class DockerConfig {
 public:
  DockerConfig() = default;
  /// InvalidArgument when it is not a JSON object; entries of the wrong type are left out. Never
  /// repeats the content.
  static Result<DockerConfig> Parse(std::string_view json);

  /// Which helper to ask for this registry ("docker-credential-NAME"); empty: none. `registry` as
  /// in a reference.
  [[nodiscard]] std::string HelperFor(std::string_view registry) const;
  /// What the file itself holds.
  [[nodiscard]] Credential CredentialFor(std::string_view registry) const;

 private:
  std::map<std::string, Credential> auths_;     ///< By normalised key.
  std::map<std::string, std::string> helpers_;  ///< By normalised key.
  std::string store_;                           ///< credsStore
};

/// What credential helpers are asked for: "https://index.docker.io/v1/" for Docker Hub, else the
/// registry itself.
[[nodiscard]] std::string CredentialServerUrl(std::string_view registry);

}  // namespace floe::fetcher
