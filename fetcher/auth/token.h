#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/result.h"
#include "fetcher/auth/challenge.h"
#include "fetcher/auth/credential.h"
#include "fetcher/transport.h"

namespace floe::fetcher {

/// A Bearer token as its server hands it out (distribution's token authentication).
struct Token {
  std::string value;
  std::chrono::seconds lifetime{60};  ///< From the moment of the answer.

  /// Unauthenticated when there is no token in it, or one that no header could hold.
  static Result<Token> Parse(std::string_view json);
};

/// The request that gets a token: GET with Basic authentication or anonymous, POST of an OAuth2
/// refresh token when the credential holds one. `scope` stands in where the challenge names none.
/// FailedPrecondition when the realm is no URL, or when credentials would travel over plain HTTP
/// while the registry itself is spoken to over TLS.
Result<HttpRequest> TokenRequest(const Challenge& challenge, const std::string& scope,
                                 const Credential& credential, bool registry_is_plain);

}  // namespace floe::fetcher
