#include "fetcher/registry/registry_call.h"

#include <algorithm>
#include <utility>

#include "fetcher/http/http_error.h"
#include "fetcher/redact.h"

namespace floe::fetcher {
namespace {

constexpr int kMaxRedirects = 5;
constexpr std::chrono::seconds kMaxBackOff{5};
// Beyond this a caller is better off with the answer than with the wait.
constexpr std::chrono::seconds kMaxRetryAfter{60};
// For a 429 that does not say.
constexpr std::chrono::seconds kDefaultRetryAfter{1};

constexpr int kBadRequest = 400;
constexpr int kUnauthorized = 401;
constexpr int kForbidden = 403;
constexpr int kTooManyRequests = 429;

bool IsRedirect(int status) {
  return (status >= 301 && status <= 303) || status == 307 || status == 308;
}

/// Object stores refuse expired signatures with any of these.
bool IsRefusalOfTarget(int status) {
  return status == kBadRequest || status == kUnauthorized || status == kForbidden ||
         status == 404 || status == 410;
}

/// Helpers, configuration and realms fail in many ways; to the registry it is all one.
Error NoCredentials(Error error) {
  bool says = error.fault != FaultKind::kNone || error.code == ErrorCode::kCancelled;
  return says ? error : WithFault(std::move(error), FaultKind::kUnauthenticated);
}

std::vector<Challenge> ChallengesOf(const HttpResponse& response) {
  std::vector<Challenge> challenges;
  auto [first, last] = response.headers.equal_range("www-authenticate");
  for (; first != last; ++first) {
    std::vector<Challenge> more = ParseChallenges(first->second);
    challenges.insert(challenges.end(), more.begin(), more.end());
  }
  return challenges;
}

}  // namespace

void RegistryCall::Start() {
  if (context_.stopping) {
    Finish(Cancelled("the registry client is shutting down"));
    return;
  }
  context_.running.insert(shared_from_this());
  if (!request_.deadline.infinite()) {
    deadline_timer_ = context_.tasks->RunAt(request_.deadline.when(), [weak = weak_from_this()] {
      if (auto self = weak.lock()) {
        self->Finish(WithFault(DeadlineExceeded("{}: ran out of time", self->Describe()),
                               FaultKind::kTimedOut));
      }
    });
  }
  Attempt();
}

void RegistryCall::Attempt() {
  ++attempts_;
  refreshed_ = false;
  redirects_ = 0;
  Result<Url> base = context_.schemes.BaseUrl(request_.repository.registry);
  if (!base) {
    Finish(std::move(base).error());
    return;
  }
  base_ = *base;
  url_ = base_;
  url_.target = fmt::format("/v2/{}/{}", request_.repository.path, request_.path);
  if (request_.url) {
    url_ = *request_.url;
  }
  std::optional<Url> known;
  if (request_.blob) {
    known = context_.redirects.Find(request_.repository, *request_.blob);
  }
  if (known || !AtRegistry()) {
    Send(known.value_or(url_), "");
    return;
  }
  state_ = State::kAuthorizing;
  context_.authenticator.Authorize(
      Scope(), WhenAuthorized([this](const std::string& header) { Send(url_, header); }));
}

Authenticator::Done RegistryCall::WhenAuthorized(std::function<void(std::string)> next) {
  return [weak = weak_from_this(), step = ++step_,
          next = std::move(next)](Result<std::string> header) {
    auto self = weak.lock();
    if (self == nullptr || self->step_ != step || self->state_ == State::kDone) {
      return;
    }
    if (header) {
      next(*std::move(header));
    } else {
      self->FailOrRetry(NoCredentials(std::move(header).error()));
    }
  };
}

void RegistryCall::Send(const Url& url, const std::string& authorization) {
  state_ = State::kSending;
  url_ = url;
  authorization_ = authorization;
  HttpRequest http = MakeHttpRequest(url);
  if (!authorization.empty()) {
    http.headers.emplace("Authorization", authorization);
  }
  exchange_ = context_.transport.Start(
      std::move(http), [weak = weak_from_this(), step = ++step_](Result<HttpResponse> result) {
        auto self = weak.lock();
        if (self != nullptr && self->step_ == step && self->state_ == State::kSending) {
          self->OnAnswer(std::move(result));
        }
      });
}

HttpRequest RegistryCall::MakeHttpRequest(const Url& url) {
  HttpRequest http;
  http.method = request_.method;
  http.url = url.ToString();
  http.headers = request_.headers;
  http.body = request_.body;
  http.deadline = request_.deadline;
  http.stall_timeout = context_.options.stall_timeout;
  http.max_body_bytes = request_.max_body_bytes;
  http.expected_body_bytes = request_.expected_body_bytes;
  http.on_headers = request_.on_headers;
  if (request_.sink) {
    // The exchange ends with its handle, which this call owns.
    http.sink = [this, weak = weak_from_this()](std::span<const std::byte> bytes) {
      auto self = weak.lock();
      if (self == nullptr || self->state_ == State::kDone) {
        return Result<void>(Cancelled("cancelled"));
      }
      self->delivered_ = true;
      Result<void> taken = request_.sink(bytes);
      if (taken && request_.wants_pause && request_.wants_pause()) {
        self->SetPaused(true);
      }
      return taken;
    };
  }
  return http;
}

void RegistryCall::OnAnswer(Result<HttpResponse> result) {
  exchange_.reset();
  if (TakeOverWrongScheme(result)) {
    return;
  }
  if (!result) {
    Error error = std::move(result).error();
    if (request_.blob && !AtRegistry()) {
      context_.redirects.Forget(request_.repository, *request_.blob);
    }
    FailOrRetry(std::move(error));
    return;
  }
  const HttpResponse& response = *result;
  if (AtRegistry() && response.status != kBadRequest) {
    context_.schemes.Confirm(request_.repository.registry);
  }
  bool success =
      response.status / 100 == 2 || (!request_.follow_redirects && IsRedirect(response.status));
  if (success) {
    Finish(RegistryAnswer{*std::move(result), url_});
  } else if (!TakeOverRedirect(response) && !TakeOverRefusal(response) &&
             !TakeOverStaleTarget(response)) {
    FailOrRetry(ErrorOf(response));
  }
}

Error RegistryCall::ErrorOf(const HttpResponse& response) const {
  Error error = StatusError(response, Describe(), Clock::Real().WallNow());
  if (response.status == kTooManyRequests && !error.retry_after) {
    error.retry_after = kDefaultRetryAfter;
  }
  if (!AtRegistry() && request_.blob && IsRefusalOfTarget(response.status)) {
    error.fault = FaultKind::kRedirectRefused;
  }
  return error;
}

bool RegistryCall::TakeOverWrongScheme(const Result<HttpResponse>& result) {
  // Servers that want TLS answer plain HTTP with a 400 that says so, or with a TLS alert. A HEAD
  // leaves no room to say it.
  bool says_so =
      result && (request_.method == "HEAD" || result->body.find("HTTPS") != std::string::npos);
  bool misunderstood = result ? result->status == kBadRequest && says_so
                              : result.error().code == ErrorCode::kFailedPrecondition;
  if (!misunderstood || !AtRegistry() || base_.scheme != "http" ||
      !context_.schemes.TryTlsInstead(request_.repository.registry)) {
    return false;
  }
  --attempts_;
  Attempt();
  return true;
}

bool RegistryCall::TakeOverRedirect(const HttpResponse& response) {
  if (!IsRedirect(response.status)) {
    return false;
  }
  Redirect(response);
  return true;
}

void RegistryCall::Redirect(const HttpResponse& response) {
  std::string location = response.Header("location");
  Result<Url> target = url_.Resolve(location);
  if (location.empty() || !target) {
    Finish(Unknown("{}: status {} with a bad Location", Describe(), response.status));
    return;
  }
  if (++redirects_ > kMaxRedirects) {
    Finish(Unknown("{}: more than {} redirects", Describe(), kMaxRedirects));
    return;
  }
  if (url_.scheme == "https" && target->scheme == "http" &&
      !context_.schemes.IsConfiguredPlain(*target)) {
    Finish(FailedPrecondition("{}: redirects from TLS to plain HTTP at {}", Describe(),
                              target->Authority()));
    return;
  }
  // Credentials are for the registry alone, and for the scheme that they were sent over.
  bool same = target->Authority() == base_.Authority() && target->scheme == base_.scheme;
  if (request_.blob && !same) {
    context_.redirects.Put(request_.repository, *request_.blob, *target);
  }
  Send(*target, same ? authorization_ : "");
}

bool RegistryCall::TakeOverRefusal(const HttpResponse& response) {
  // Some registries answer 403 instead of 401 once a token has expired.
  bool refused = response.status == kUnauthorized ||
                 (response.status == kForbidden && !authorization_.empty());
  if (!refused || !AtRegistry() || refreshed_) {
    return false;
  }
  refreshed_ = true;
  state_ = State::kAuthorizing;
  Error refusal = ErrorOf(response);
  // Without credentials the refusal was but the registry's question for them.
  if (!authorization_.empty()) {
    WillRetry(refusal);
  }
  context_.authenticator.Refresh(
      Scope(), ChallengesOf(response), authorization_,
      [weak = weak_from_this(), step = ++step_, refusal](Result<std::string> header) {
        auto self = weak.lock();
        if (self == nullptr || self->step_ != step || self->state_ == State::kDone) {
          return;
        }
        if (header) {
          self->Send(self->url_, *header);
        } else if (header.error().code == ErrorCode::kUnauthenticated &&
                   refusal.code == ErrorCode::kPermissionDenied) {
          self->Finish(refusal);  // There is nothing better than what was forbidden.
        } else {
          self->FailOrRetry(NoCredentials(std::move(header).error()));
        }
      });
  return true;
}

bool RegistryCall::TakeOverStaleTarget(const HttpResponse& response) {
  if (AtRegistry() || !request_.blob || re_resolved_ || !IsRefusalOfTarget(response.status)) {
    return false;
  }
  re_resolved_ = true;
  WillRetry(ErrorOf(response));
  context_.redirects.Forget(request_.repository, *request_.blob);
  --attempts_;
  Attempt();
  return true;
}

void RegistryCall::FailOrRetry(Error error) {
  bool worth_it = error.code == ErrorCode::kUnavailable ||
                  (error.code == ErrorCode::kResourceExhausted && error.retry_after);
  bool exhausted = !request_.until_deadline && attempts_ >= context_.options.max_attempts;
  if (!worth_it || !request_.idempotent || delivered_ || exhausted) {
    Finish(std::move(error));
    return;
  }
  Clock::Duration delay = RetryDelay(error);
  if (delay > kMaxRetryAfter || delay >= request_.deadline.Remaining()) {
    if (request_.until_deadline) {
      error.code = ErrorCode::kDeadlineExceeded;  // The fault and the words stay.
    }
    Finish(std::move(error));
    return;
  }
  WillRetry(error);
  state_ = State::kWaiting;
  ++step_;
  retry_timer_ = context_.tasks->RunAt(Clock::Real().Now() + delay, [weak = weak_from_this()] {
    if (auto self = weak.lock()) {
      self->Attempt();
    }
  });
}

void RegistryCall::WillRetry(const Error& error) {
  if (request_.on_retry) {
    request_.on_retry(error);
  }
}

Clock::Duration RegistryCall::RetryDelay(const Error& error) {
  Clock::Duration delay = context_.options.retry_delay;
  for (int i = 1; i < attempts_ && delay < kMaxBackOff; ++i) {
    delay *= 2;
  }
  // Between half and all of it, so that many readers do not come back at once.
  double share = std::uniform_real_distribution<double>(0.5, 1.0)(context_.random);
  delay = std::chrono::duration_cast<Clock::Duration>(
      std::min<Clock::Duration>(delay, kMaxBackOff) * share);
  return error.retry_after ? std::max<Clock::Duration>(delay, *error.retry_after) : delay;
}

AuthScope RegistryCall::Scope() const {
  return {.registry = request_.repository.registry,
          .scope = fmt::format("repository:{}:pull{}", request_.repository.path,
                               request_.push ? ",push" : ""),
          .plain = base_.scheme == "http"};
}

std::string RegistryCall::Describe() const {
  return fmt::format("{} {}", request_.method, RedactUrl(url_.ToString()));
}

bool RegistryCall::AtRegistry() const {
  return url_.scheme == base_.scheme && url_.Authority() == base_.Authority();
}

void RegistryCall::SetPaused(bool paused) {
  if (exchange_ != nullptr) {
    exchange_->SetPaused(paused);
  }
}

void RegistryCall::Finish(Result<RegistryAnswer> result) {
  if (state_ == State::kDone) {
    return;
  }
  auto self = shared_from_this();  // The set below may hold the last other reference.
  state_ = State::kDone;
  context_.tasks->CancelTimer(deadline_timer_);
  context_.tasks->CancelTimer(retry_timer_);
  context_.running.erase(self);
  std::unique_ptr<HttpExchange> exchange = std::move(exchange_);
  done_(std::move(result));
}

}  // namespace floe::fetcher
