#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>

#include "base/clock.h"
#include "base/digest.h"
#include "base/result.h"
#include "fetcher/auth/authenticator.h"
#include "fetcher/http/loop_tasks.h"
#include "fetcher/http/url.h"
#include "fetcher/reference.h"
#include "fetcher/registry/redirect_cache.h"
#include "fetcher/registry/scheme_table.h"
#include "fetcher/registry_client.h"
#include "fetcher/transport.h"

namespace floe::fetcher {

/// What is asked of a registry: no word about authentication, redirects or retries.
struct RegistryRequest {
  Repository repository;
  std::string method = "GET";
  std::string path;        ///< Below /v2/<repository>/, for example "manifests/latest".
  std::optional<Url> url;  ///< Instead of `path`: an upload's location, the next page of a list.
  bool push = false;       ///< Asks for the right to push as well.
  std::multimap<std::string, std::string> headers;
  std::string body;
  bool idempotent = true;  ///< May be sent again after a failure.
  /// Is sent again until the deadline, and not only RegistryOptions::max_attempts times.
  bool until_deadline = false;
  bool follow_redirects = true;  ///< False: a redirect is an answer like a success.
  std::optional<Digest> blob;    ///< Set: where redirects lead is kept for this blob.
  Deadline deadline;
  uint64_t max_body_bytes = 64ULL << 20U;
  std::optional<uint64_t> expected_body_bytes;
  std::function<Result<void>(const HttpResponse&)> on_headers;  ///< As in HttpRequest.
  /// Told of each failure after which the request is sent again, on the loop's thread.
  std::function<void(const Error&)> on_retry;
  /// As in HttpRequest. Once it saw bytes the request is not sent again.
  std::function<Result<void>(std::span<const std::byte>)> sink;
  /// Asked after each call of the sink: true pauses the transfer until
  /// CallHandle::SetPaused(false).
  std::function<bool()> wants_pause;
};

/// A success (2xx, or 3xx without `follow_redirects`) and where it came from.
struct RegistryAnswer {
  HttpResponse response;
  Url url;
};

class RegistryCall;

/// What all calls of one client share. Only on the loop's thread.
struct RegistryContext {
  RegistryContext(const RegistryOptions& o, HttpTransport& t, const std::shared_ptr<LoopTasks>& l)
      : options(o),
        transport(t),
        tasks(l),
        schemes(o.plain_http),
        authenticator(t, l, o.docker_config_dir) {}

  const RegistryOptions options;
  HttpTransport& transport;  ///< Must outlive this; its loop must have ended before.
  const std::shared_ptr<LoopTasks> tasks;
  SchemeTable schemes;
  RedirectCache redirects;
  std::set<std::shared_ptr<RegistryCall>> running;
  bool stopping = false;  ///< What starts now ends at once with Cancelled.
  std::minstd_rand random{std::random_device{}()};
  Authenticator authenticator;
};

/// One request to a registry from its first attempt to its only answer: a state machine on the
/// loop's thread that never blocks.
///
///     kIdle -> kAuthorizing -> kSending -> kDone
///                 ^  ^            |  |
///                 |  +- 401, redirect refused
///                 +---- kWaiting <+  (back-off)
///
/// Everything but the constructor: only on the loop's thread.
class RegistryCall : public std::enable_shared_from_this<RegistryCall> {
 public:
  /// Runs exactly once, on the loop's thread.
  using Done = std::function<void(Result<RegistryAnswer>)>;

  /// `context` must outlive this.
  RegistryCall(RegistryContext& context, RegistryRequest request, Done done)
      : context_(context), request_(std::move(request)), done_(std::move(done)) {}

  void Start();
  /// Nothing when it ended already.
  void Fail(Error error) { Finish(std::move(error)); }
  void SetPaused(bool paused);

 private:
  enum class State {
    kIdle,         ///< Not started.
    kAuthorizing,  ///< Waits for the authenticator.
    kSending,      ///< An exchange is under way.
    kWaiting,      ///< Between two attempts.
    kDone,         ///< The callback ran.
  };

  void Attempt();
  void Send(const Url& url, const std::string& authorization);
  HttpRequest MakeHttpRequest(const Url& url);
  void OnAnswer(Result<HttpResponse> result);
  /// Each of these takes the answer over by starting something else, and says so.
  bool TakeOverWrongScheme(const Result<HttpResponse>& result);
  bool TakeOverRedirect(const HttpResponse& response);
  bool TakeOverRefusal(const HttpResponse& response);
  bool TakeOverStaleTarget(const HttpResponse& response);
  void Redirect(const HttpResponse& response);
  void FailOrRetry(Error error);
  void WillRetry(const Error& error);
  [[nodiscard]] Error ErrorOf(const HttpResponse& response) const;
  [[nodiscard]] Clock::Duration RetryDelay(const Error& error);
  [[nodiscard]] AuthScope Scope() const;
  [[nodiscard]] std::string Describe() const;
  [[nodiscard]] bool AtRegistry() const;
  /// The continuation, unless the call ended or moved on in the meantime.
  Authenticator::Done WhenAuthorized(std::function<void(std::string)> next);
  void Finish(Result<RegistryAnswer> result);

  RegistryContext& context_;
  const RegistryRequest request_;
  const Done done_;

  State state_ = State::kIdle;
  uint64_t step_ = 0;  ///< Counts state changes: late callbacks of older steps are ignored.
  Url base_;           ///< The registry's API.
  Url url_;            ///< Where the exchange under way goes.
  std::string authorization_;
  int attempts_ = 0;
  int redirects_ = 0;
  bool refreshed_ = false;    ///< The credentials were renewed in this attempt.
  bool re_resolved_ = false;  ///< A redirect target was given up once.
  bool delivered_ = false;    ///< The sink saw bytes.
  LoopTasks::TimerId deadline_timer_, retry_timer_;
  std::unique_ptr<HttpExchange> exchange_;
};

}  // namespace floe::fetcher
