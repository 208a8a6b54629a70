#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "base/mutex.h"
#include "base/unique_fd.h"

namespace floe::testing {

/// One request as the server read it.
struct ServedRequest {
  std::string method;
  std::string path;                            ///< Percent-decoded, without the query.
  std::map<std::string, std::string> query;    ///< Percent-decoded.
  std::map<std::string, std::string> headers;  ///< Names in lower case.
  std::string body;

  /// Empty when absent.
  [[nodiscard]] std::string Header(const std::string& lower_case_name) const;
  [[nodiscard]] std::string Query(const std::string& name) const;
};

/// The client's side of one connection, as a handler sees it. Only on that connection's thread.
class ServedConnection {
 public:
  /// `wake` becomes readable when the server stops. Borrows both descriptors.
  ServedConnection(int fd, int wake) : fd_(fd), wake_(wake) {}

  /// Raw bytes; false when the peer is gone.
  bool Send(std::string_view bytes);
  /// False when the server stops or the peer is gone before `time` has passed.
  bool WaitFor(std::chrono::milliseconds time);
  /// Waits until the peer is gone or the server stops.
  void WaitForEnd();
  /// The connection ends when the handler returns ...
  void CloseAfterwards() { close_ = true; }
  /// ... with a TCP reset.
  void ResetAfterwards();
  [[nodiscard]] bool closing() const { return close_; }

 private:
  const int fd_;
  const int wake_;
  bool close_ = false;
};

/// An HTTP/1.1 server on 127.0.0.1 with keep-alive, one thread a connection. Thread-safe.
class FakeHttpServer {
 public:
  /// Answers one request; runs on the connection's thread, for several connections at once.
  using Handler = std::function<void(const ServedRequest&, ServedConnection&)>;

  explicit FakeHttpServer(Handler handler);
  ~FakeHttpServer();
  FakeHttpServer(const FakeHttpServer&) = delete;
  FakeHttpServer& operator=(const FakeHttpServer&) = delete;

  [[nodiscard]] uint16_t port() const { return port_; }
  /// Connections accepted since the start.
  [[nodiscard]] int connections() const { return accepted_.load(); }
  /// Ends every connection and refuses new ones. Idempotent; the destructor calls it.
  void Stop();

 private:
  struct Connection {
    UniqueFd fd;
    std::thread thread;
  };

  void Accept();
  void Serve(int fd);

  const Handler handler_;
  UniqueFd listener_;
  UniqueFd wake_;
  uint16_t port_ = 0;
  std::atomic<int> accepted_{0};
  Mutex mutex_;
  bool stopped_ FLOE_GUARDED_BY(mutex_) = false;
  std::list<Connection> open_ FLOE_GUARDED_BY(mutex_);
  std::thread acceptor_;
};

}  // namespace floe::testing
