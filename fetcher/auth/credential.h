#pragma once

#include <string>
#include <string_view>

namespace floe::fetcher {

/// What a registry or its token server may be shown. All empty: nothing is known, go on
/// anonymously.
struct Credential {
  std::string username = {};
  std::string password = {};
  std::string identity_token = {};  ///< An OAuth2 refresh token for the token server.
  std::string registry_token = {};  ///< A Bearer token for the registry itself.

  [[nodiscard]] bool empty() const {
    return username.empty() && identity_token.empty() && registry_token.empty();
  }
  [[nodiscard]] std::string BasicHeader() const;  ///< "Basic ...", or empty without a user name.
  bool operator==(const Credential&) const = default;
};

/// Standard alphabet, padding optional; empty for anything that is not base64.
[[nodiscard]] std::string Base64Decode(std::string_view text);
[[nodiscard]] std::string Base64Encode(std::string_view bytes);

}  // namespace floe::fetcher
