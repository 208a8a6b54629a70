#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "fetcher/auth/challenge.h"
#include "fetcher/auth/docker_config.h"
#include "fetcher/auth/token.h"
#include "fetcher/redact.h"
#include "fetcher/registry/referrers.h"

// Everything of the authentication that comes from registries, and the redactor.
// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace fetcher = floe::fetcher;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const fetcher::Challenge& challenge : fetcher::ParseChallenges(text)) {
    FLOE_CHECK(!challenge.scheme.empty());
    (void)fetcher::TokenRequest(challenge, "scope", {.username = "user"}, false);
  }
  if (floe::Result<fetcher::Token> token = fetcher::Token::Parse(text)) {
    FLOE_CHECK(token->value.find_first_of("\r\n ") == std::string::npos);
  }
  (void)fetcher::DockerConfig::Parse(text);
  (void)fetcher::NextPage(text);
  FLOE_CHECK(fetcher::RedactText(text).find_first_of("\r\n") == std::string::npos);
  FLOE_CHECK(fetcher::RedactUrl(text).find_first_of("\r\n") == std::string::npos);
  return 0;
}
