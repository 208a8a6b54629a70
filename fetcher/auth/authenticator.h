#pragma once

#include <compare>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "fetcher/auth/challenge.h"
#include "fetcher/auth/credential_store.h"
#include "fetcher/auth/token.h"
#include "fetcher/http/loop_tasks.h"
#include "fetcher/transport.h"

namespace floe::fetcher {

/// What a request wants to be allowed to do.
struct AuthScope {
  std::string registry;  ///< As in the reference: the key of the credentials.
  std::string scope;     ///< "repository:library/app:pull"
  bool plain = false;    ///< The registry is spoken to without TLS.

  auto operator<=>(const AuthScope&) const = default;
};

/// Finds the Authorization header for requests to registries: Bearer tokens, cached by registry and
/// scope until they expire or are refused, and Basic. However many requests want one, each is
/// fetched once at a time. Only on the loop's thread.
class Authenticator {
 public:
  /// The header's value; empty: send none. Runs once, possibly at once.
  using Done = std::function<void(Result<std::string>)>;

  /// `transport` must outlive this, and its loop must have ended before this is destroyed.
  Authenticator(HttpTransport& transport, std::shared_ptr<LoopTasks> tasks,
                std::string docker_config_dir)
      : transport_(transport),
        tasks_(std::move(tasks)),
        credentials_(std::move(docker_config_dir)) {}

  /// For a first attempt: what is cached; a token fetched ahead where the registry's challenge is
  /// known from other requests; else nothing. Errors as for Refresh.
  void Authorize(const AuthScope& scope, Done done);

  /// After a request that carried `refused` was refused. `challenges` is what came with the
  /// refusal, and may be empty when the registry's challenge is known. Never hands `refused` out
  /// again. Unauthenticated when there are no credentials, when they are refused, or when the
  /// scheme is unknown; PermissionDenied; Unavailable.
  void Refresh(const AuthScope& scope, const std::vector<Challenge>& challenges,
               const std::string& refused, Done done);

 private:
  struct Entry {
    std::string header;
    Clock::TimePoint expires;
    bool fetching = false;
    std::string refused;  ///< While fetching: what must not come out again.
    std::vector<Done> waiters;
    std::unique_ptr<HttpExchange> exchange;
  };

  void Fetch(const AuthScope& scope, const std::string& refused, Done done);
  void OnCredential(const AuthScope& scope, const Result<Credential>& credential);
  void RequestToken(const AuthScope& scope, const Challenge& challenge,
                    const Credential& credential);
  void OnTokenAnswer(const AuthScope& scope, Result<HttpResponse> answer);
  /// Ends the fetch: keeps the header and wakes every waiter once.
  void Settle(const AuthScope& scope, Result<std::string> header, Clock::Duration lifetime);

  HttpTransport& transport_;
  const std::shared_ptr<LoopTasks> tasks_;
  std::map<std::string, Challenge> challenges_;  ///< By registry: the last one that was chosen.
  std::map<AuthScope, Entry> entries_;
  CredentialStore credentials_;  ///< Its thread posts to the loop only.
};

}  // namespace floe::fetcher
