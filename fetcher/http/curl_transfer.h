#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <curl/curl.h>

#include "base/clock.h"
#include "fetcher/http/loop_tasks.h"
#include "fetcher/transport.h"

namespace floe::fetcher {

/// What all transfers of one transport share. Immutable.
struct CurlSettings {
  std::string user_agent;
  std::string ca_path;  ///< CURLOPT_CAINFO; empty: what libcurl was built with.
  std::chrono::milliseconds connect_timeout{10000};
  bool http2 = true;
};

struct CurlCounters {
  std::atomic<uint64_t> requests{0};
  std::atomic<uint64_t> body_bytes{0};
  std::atomic<uint64_t> connections{0};
};

/// One exchange over one easy handle, from its options to its result. Lives on the loop's thread;
/// the transport decides when it starts and ends.
class CurlTransfer {
 public:
  /// `counters` must outlive this.
  CurlTransfer(HttpRequest request, HttpTransport::Callback done, CurlCounters& counters)
      : request_(std::move(request)), done_(std::move(done)), counters_(counters) {}
  ~CurlTransfer() { curl_slist_free_all(headers_); }
  CurlTransfer(const CurlTransfer&) = delete;
  CurlTransfer& operator=(const CurlTransfer&) = delete;

  /// Sets every option of a fresh easy handle, which must outlive the transfer over it.
  /// InvalidArgument for a header that cannot be sent.
  Result<void> Configure(CURL* easy, CURLSH* share, const CurlSettings& settings);
  /// Forgets the handle: the transfer was taken back before it started.
  void Unconfigure();
  void SetPaused(bool paused);

  /// What libcurl's code and the callbacks so far amount to.
  [[nodiscard]] Result<HttpResponse> TakeResult(CURLcode code);
  /// Runs the callback.
  void Finish(Result<HttpResponse> result) { done_(std::move(result)); }

  [[nodiscard]] const HttpRequest& request() const { return request_; }
  [[nodiscard]] CURL* easy() const { return easy_; }
  /// A connection is being opened for it, or it has one.
  [[nodiscard]] bool started() const { return started_; }
  /// True once the answer came and was not HTTP/2.
  [[nodiscard]] bool answered_by_http1() const { return http1_; }
  /// When it last made progress; a byte now and then is none. Now, while it is paused or not
  /// started.
  [[nodiscard]] Clock::TimePoint LastProgress() const;

  // The transport's own bookkeeping.
  std::string origin;
  LoopTasks::TimerId deadline_timer, stall_timer;
  /// Called once, from libcurl, when an answer shows the protocol.
  std::function<void()> on_protocol;

 private:
  static size_t OnHeader(char* data, size_t size, size_t count, void* self);
  static size_t OnBody(char* data, size_t size, size_t count, void* self);
  static int OnProgress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t sent);
  static int OnRequest(void* self, char*, char*, int, int);
  static curl_socket_t OnOpenSocket(void* self, curlsocktype purpose, curl_sockaddr* address);

  void SetMethod();
  Result<void> SetHeaders(const std::string& user_agent);
  void SetTls(CURLSH* share, const CurlSettings& settings);
  void MarkProgress();
  void CountReceived(size_t bytes);
  Result<void> TakeHeaderLine(std::string_view line);
  Result<void> EndHeaders();
  Result<void> TakeBody(std::string_view bytes);
  [[nodiscard]] bool succeeded() const { return response_.status / 100 == 2; }
  template <typename Value>
  void Set(CURLoption option, Value value) {
    (void)curl_easy_setopt(easy_, option, value);
  }

  const HttpRequest request_;
  const HttpTransport::Callback done_;
  CurlCounters& counters_;
  CURL* easy_ = nullptr;
  curl_slist* headers_ = nullptr;
  std::array<char, CURL_ERROR_SIZE> error_text_{};

  HttpResponse response_;
  size_t header_bytes_ = 0;
  bool headers_done_ = false;
  bool error_body_cut_ = false;
  Result<void> callback_result_;  ///< Why a callback of ours stopped the transfer.
  bool started_ = false;
  bool http1_ = false;
  bool paused_ = false;
  curl_off_t sent_ = 0;
  Clock::TimePoint last_progress_;
  uint64_t received_since_ = 0;  ///< Bytes since then.
};

}  // namespace floe::fetcher
