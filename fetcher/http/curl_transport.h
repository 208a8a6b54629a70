#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/result.h"
#include "fetcher/http/loop_tasks.h"
#include "fetcher/transport.h"

namespace floe::fetcher {

struct CurlTransportOptions {
  std::string ca_file = {};  ///< PEM, added to the system's.
  std::string user_agent = "floe";
  int max_connections_per_host = 8;
  std::chrono::milliseconds connect_timeout{10000};
  bool http2 = true;
};

/// HttpTransport over libcurl's multi interface: one thread ("floe-fetch") owns the multi handle,
/// all easy handles and their connections. HTTP/2 over TLS multiplexes the requests of a host over
/// one connection; HTTP/1.1 uses up to `max_connections_per_host` kept-alive ones, and the requests
/// beyond wait here in order.
class CurlTransport final : public HttpTransport {
 public:
  /// NotFound or InvalidArgument when the CA file cannot be read or holds no certificate.
  static Result<std::unique_ptr<CurlTransport>> Create(const CurlTransportOptions& options);
  ~CurlTransport() override;

  std::unique_ptr<HttpExchange> Start(HttpRequest request, Callback done) override;
  /// Ends the loop's thread; all exchanges end with Cancelled on it. Tasks posted before still run.
  /// Idempotent; not on the loop's thread.
  void Stop();
  /// The loop's tasks and timers, for those who live on its thread as well.
  [[nodiscard]] const std::shared_ptr<LoopTasks>& tasks() const;

  struct Counters {
    uint64_t requests = 0;  ///< Sent.
    uint64_t body_bytes = 0;
    uint64_t connections = 0;  ///< Opened.
  };
  [[nodiscard]] Counters counters() const;

 private:
  class Loop;
  explicit CurlTransport(std::unique_ptr<Loop> loop);

  std::unique_ptr<Loop> loop_;
};

}  // namespace floe::fetcher
