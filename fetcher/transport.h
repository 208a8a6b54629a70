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

/// One HTTP exchange, without any knowledge of registries: no authentication, no redirects, no
/// retries.
struct HttpRequest {
  std::string method = "GET";
  std::string url;  ///< Absolute.
  std::multimap<std::string, std::string> headers;
  std::string body;  ///< POST, PUT, PATCH.
  /// Whole exchange. A transfer that makes no progress for `stall_timeout` fails as well.
  Deadline deadline;
  std::chrono::milliseconds stall_timeout{30000};
  uint64_t max_body_bytes = 64ULL << 20U;  ///< ResourceExhausted beyond (only without a sink).
  /// When set, body bytes of a 2xx answer go here instead of into HttpResponse::body, on the fetch
  /// loop's thread; it must not block for long. An error it returns cancels the transfer and is its
  /// result.
  std::function<Result<void>(std::span<const std::byte>)> sink;
  std::optional<uint64_t> expected_body_bytes;  ///< A hint to reserve memory once.
};

struct HttpResponse {
  int status = 0;
  std::multimap<std::string, std::string> headers;  ///< Names in lower case.
  std::string body;

  /// The first value; empty when absent. `lower_case_name` must be lower case.
  [[nodiscard]] std::string Header(const std::string& lower_case_name) const;
};

/// Cancels its exchange when destroyed before completion (the callback then runs with Cancelled).
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  virtual void Cancel() = 0;
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
