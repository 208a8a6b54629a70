#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace floe::fetcher {

struct HttpResponse {
  int status = 0;
  std::multimap<std::string, std::string> headers;  ///< Names in lower case.
  std::string body;

  /// The first value; empty when absent. `lower_case_name` must be lower case.
  [[nodiscard]] std::string Header(const std::string& lower_case_name) const;
};

/// One HTTP exchange, without any knowledge of registries: no authentication, no redirects, no
/// retries.
struct HttpRequest {
  std::string method = "GET";
  std::string url;  ///< Absolute.
  std::multimap<std::string, std::string> headers;
  std::string body;  ///< POST, PUT, PATCH.
  /// Whole exchange. A transfer that makes no progress for `stall_timeout`, or as good as none,
  /// fails as well.
  Deadline deadline;
  std::chrono::milliseconds stall_timeout{30000};
  uint64_t max_body_bytes = 64ULL << 20U;  ///< ResourceExhausted beyond (only without a sink).
  /// When set, sees status and headers of a 2xx answer before any byte of its body, on the fetch
  /// loop's thread. An error it returns cancels the transfer and is its result.
  std::function<Result<void>(const HttpResponse&)> on_headers = {};
  /// When set, body bytes of a 2xx answer go here instead of into HttpResponse::body, on the fetch
  /// loop's thread; it must not block for long. An error it returns cancels the transfer and is its
  /// result.
  std::function<Result<void>(std::span<const std::byte>)> sink;
  std::optional<uint64_t> expected_body_bytes;  ///< A hint to reserve memory once.
};

/// Cancels its exchange when destroyed before completion (the callback then runs with Cancelled).
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  virtual void Cancel() = 0;
  /// While paused no body bytes arrive (a few that are on their way excepted) and the stall timeout
  /// rests; the deadline does not. Any thread; at once when called on the transport's own, also
  /// from the sink.
  virtual void SetPaused(bool paused) = 0;
};

/// Sends requests. Thread-safe. Implementations: fetcher/http/curl_transport.h and the tests' fake.
class HttpTransport {
 public:
  using Callback = std::function<void(Result<HttpResponse>)>;
  virtual ~HttpTransport() = default;
  /// `done` runs exactly once, on the transport's own thread (never inside Start); it must not
  /// block.
  virtual std::unique_ptr<HttpExchange> Start(HttpRequest request, Callback done) = 0;
  /// Blocking convenience; never call it on the transport's thread.
  Result<HttpResponse> Do(HttpRequest request);
};

}  // namespace floe::fetcher
