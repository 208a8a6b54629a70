#include "fetcher/auth/authenticator.h"

#include <algorithm>
#include <utility>

#include "fetcher/http/http_error.h"
#include "fetcher/redact.h"

namespace floe::fetcher {
namespace {

constexpr std::chrono::seconds kTokenTimeout{30};
// Credentials that do not expire by themselves end with a refusal.
constexpr Clock::Duration kForever = std::chrono::hours(24 * 365);
// More scopes than a node has repositories in use.
constexpr size_t kMaxEntries = 4096;

/// Bearer before Basic; nothing when neither is offered.
const Challenge* Choose(const std::vector<Challenge>& challenges) {
  for (const char* scheme : {"bearer", "basic"}) {
    auto found = std::find_if(challenges.begin(), challenges.end(),
                              [&](const Challenge& c) { return c.scheme == scheme; });
    if (found != challenges.end()) {
      return &*found;
    }
  }
  return nullptr;
}

}  // namespace

void Authenticator::Authorize(const AuthScope& scope, Done done) {
  auto entry = entries_.find(scope);
  if (entry != entries_.end() && !entry->second.fetching &&
      Clock::Real().Now() < entry->second.expires) {
    done(entry->second.header);
  } else if (challenges_.contains(scope.registry)) {
    Fetch(scope, "", std::move(done));
  } else {
    done(std::string());
  }
}

void Authenticator::Refresh(const AuthScope& scope, const std::vector<Challenge>& challenges,
                            const std::string& refused, Done done) {
  const Challenge* chosen = Choose(challenges);
  if (chosen != nullptr) {
    challenges_[scope.registry] = *chosen;
  } else if (!challenges.empty() || !challenges_.contains(scope.registry)) {
    done(Unauthenticated("{} offers neither Bearer nor Basic authentication", scope.registry));
    return;
  }
  auto entry = entries_.find(scope);
  if (entry != entries_.end() && !entry->second.fetching && entry->second.header != refused &&
      Clock::Real().Now() < entry->second.expires) {
    done(entry->second.header);  // Somebody else was quicker.
    return;
  }
  Fetch(scope, refused, std::move(done));
}

void Authenticator::Fetch(const AuthScope& scope, const std::string& refused, Done done) {
  if (entries_.size() > kMaxEntries) {
    std::erase_if(entries_, [](const auto& entry) { return !entry.second.fetching; });
  }
  Entry& entry = entries_[scope];
  entry.waiters.push_back(std::move(done));
  if (std::exchange(entry.fetching, true)) {
    return;
  }
  entry.refused = refused;
  credentials_.Find(scope.registry, [this, scope](Result<Credential> credential) {
    tasks_->Post(
        [this, scope, credential = std::move(credential)] { OnCredential(scope, credential); });
  });
}

void Authenticator::OnCredential(const AuthScope& scope, const Result<Credential>& credential) {
  if (!credential) {
    Settle(scope, credential.error(), {});
    return;
  }
  const Challenge& challenge = challenges_[scope.registry];
  if (!credential->registry_token.empty()) {
    Settle(scope, "Bearer " + credential->registry_token, kForever);
  } else if (challenge.scheme == "bearer") {
    RequestToken(scope, challenge, *credential);
  } else if (std::string header = credential->BasicHeader(); !header.empty()) {
    Settle(scope, std::move(header), kForever);
  } else {
    Settle(scope,
           Unauthenticated("{} asks for credentials and there are none for it", scope.registry),
           {});
  }
}

void Authenticator::RequestToken(const AuthScope& scope, const Challenge& challenge,
                                 const Credential& credential) {
  Challenge own = challenge;
  // The challenge may stem from another repository: what it asks for counts only where it is ours.
  if (own.Param("scope").find(scope.scope) == std::string::npos) {
    own.params.erase("scope");
  }
  Result<HttpRequest> request = TokenRequest(own, scope.scope, credential, scope.plain);
  if (!request) {
    Settle(scope, std::move(request).error(), {});
    return;
  }
  request->deadline = Deadline::After(kTokenTimeout);
  entries_[scope].exchange = transport_.Start(
      *std::move(request),
      [this, scope](Result<HttpResponse> answer) { OnTokenAnswer(scope, std::move(answer)); });
}

void Authenticator::OnTokenAnswer(const AuthScope& scope, Result<HttpResponse> answer) {
  if (!answer) {
    Error error = std::move(answer).error();
    // The token server's silence is not the end of the caller's own deadline.
    if (error.code == ErrorCode::kDeadlineExceeded) {
      error.code = ErrorCode::kUnavailable;
    }
    Settle(scope, WithContext(std::move(error), "token for " + scope.registry), {});
    return;
  }
  if (answer->status / 100 != 2) {
    Settle(scope, StatusError(*answer, "token for " + scope.registry, Clock::Real().WallNow()), {});
    return;
  }
  Result<Token> token = Token::Parse(answer->body);
  if (!token) {
    Settle(scope, std::move(token).error(), {});
    return;
  }
  // Before it expires for the registry it expires here: requests take their time.
  Settle(scope, "Bearer " + token->value, token->lifetime * 9 / 10);
}

void Authenticator::Settle(const AuthScope& scope, Result<std::string> header,
                           Clock::Duration lifetime) {
  Entry& entry = entries_[scope];
  if (header && !entry.refused.empty() && *header == entry.refused) {
    header = Unauthenticated("{} refuses the credentials that there are for it", scope.registry);
  }
  std::vector<Done> waiters = std::move(entry.waiters);
  entry = Entry();
  if (header) {
    entry.header = *header;
    entry.expires = Clock::Real().Now() + lifetime;
  }
  for (const Done& done : waiters) {
    done(header);
  }
}

}  // namespace floe::fetcher
