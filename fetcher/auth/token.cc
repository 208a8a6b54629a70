#include "fetcher/auth/token.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "fetcher/http/url.h"

namespace floe::fetcher {
namespace {

constexpr uint64_t kMaxTokenBytes = 1U << 20U;
constexpr int64_t kMaxLifetimeSeconds = 86400;
constexpr const char* kClientId = "floe";

std::string Form(std::initializer_list<std::pair<const char*, std::string>> fields) {
  std::string form;
  for (const auto& [name, value] : fields) {
    if (!value.empty()) {
      form += form.empty() ? "" : "&";
      form += std::string(name) + "=" + PercentEncode(value);
    }
  }
  return form;
}

bool FitsHeader(const std::string& token) {
  return std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

}  // namespace

Result<Token> Token::Parse(std::string_view text) {
  nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return Unauthenticated("the token server's answer is not a JSON object");
  }
  Token token;
  for (const char* key : {"token", "access_token"}) {
    auto found = json.find(key);
    if (token.value.empty() && found != json.end() && found->is_string()) {
      token.value = found->get<std::string>();
    }
  }
  if (token.value.empty() || !FitsHeader(token.value)) {
    return Unauthenticated("the token server's answer holds no token");
  }
  auto lifetime = json.find("expires_in");
  if (lifetime != json.end() && lifetime->is_number()) {
    double seconds = lifetime->get<double>();
    if (seconds > 0) {
      token.lifetime = std::chrono::seconds(
          static_cast<int64_t>(std::min(seconds, static_cast<double>(kMaxLifetimeSeconds))));
    }
  }
  return token;
}

Result<HttpRequest> TokenRequest(const Challenge& challenge, const std::string& scope,
                                 const Credential& credential, bool registry_is_plain) {
  Result<Url> realm = Url::Parse(challenge.Param("realm"));
  if (!realm) {
    return FailedPrecondition("the registry's token realm: {}", realm.error().message);
  }
  if (realm->scheme == "http" && !registry_is_plain && !IsLoopbackHost(realm->host)) {
    return FailedPrecondition("the registry's token realm at {} has no TLS", realm->Authority());
  }
  std::string asked = challenge.Param("scope").empty() ? scope : challenge.Param("scope");
  std::string service = challenge.Param("service");
  HttpRequest request;
  request.max_body_bytes = kMaxTokenBytes;
  if (!credential.identity_token.empty()) {
    request.method = "POST";
    request.url = realm->ToString();
    request.headers.emplace("Content-Type", "application/x-www-form-urlencoded");
    request.body = Form({{"grant_type", "refresh_token"},
                         {"service", service},
                         {"client_id", kClientId},
                         {"scope", asked},
                         {"refresh_token", credential.identity_token}});
    return request;
  }
  std::string query = Form({{"service", service},
                            {"scope", asked},
                            {"client_id", kClientId},
                            {"account", credential.username}});
  bool has_query = realm->target.find('?') != std::string::npos;
  request.url = realm->ToString() + (has_query ? "&" : "?") + query;
  if (std::string basic = credential.BasicHeader(); !basic.empty()) {
    request.headers.emplace("Authorization", std::move(basic));
  }
  return request;
}

}  // namespace floe::fetcher
