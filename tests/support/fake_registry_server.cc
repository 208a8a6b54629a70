#include "tests/support/fake_registry_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>
#include <utility>

#include "base/check.h"

namespace floe::testing {
namespace {

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
    text.remove_prefix(1);
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) {
    text.remove_suffix(1);
  }
  return text;
}

std::string PercentDecode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ec == std::errc()) {
      decoded.push_back(static_cast<char>(value));
      i += 2;
    } else {
      decoded.push_back(text[i] == '+' ? ' ' : text[i]);
    }
  }
  return decoded;
}

std::map<std::string, std::string> ParseQuery(std::string_view text) {
  std::map<std::string, std::string> query;
  while (!text.empty()) {
    std::string_view pair = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), pair.size() + 1));
    size_t equals = pair.find('=');
    std::string_view value = equals == pair.npos ? "" : pair.substr(equals + 1);
    query[PercentDecode(pair.substr(0, equals))] = PercentDecode(value);
  }
  return query;
}

/// Reads requests from one connection; keeps what belongs to the next one.
class RequestReader {
 public:
  explicit RequestReader(int fd) : fd_(fd) {}

  std::optional<ServedRequest> Next() {
    std::optional<std::string> head = TakeThrough("\r\n\r\n");
    if (!head) {
      return std::nullopt;
    }
    ServedRequest request = ParseHead(*head);
    if (LowerCase(request.Header("transfer-encoding")) == "chunked") {
      return ReadChunks(request) ? std::optional(std::move(request)) : std::nullopt;
    }
    std::string length = request.Header("content-length");
    size_t bytes = 0;
    std::from_chars(length.data(), length.data() + length.size(), bytes);
    std::optional<std::string> body = Take(bytes);
    if (!body) {
      return std::nullopt;
    }
    request.body = std::move(*body);
    return request;
  }

 private:
  bool Fill() {
    std::array<char, 65536> chunk{};
    ssize_t count = ::recv(fd_, chunk.data(), chunk.size(), 0);
    if (count <= 0) {
      return false;
    }
    buffer_.append(chunk.data(), static_cast<size_t>(count));
    return true;
  }

  std::optional<std::string> Take(size_t bytes) {
    while (buffer_.size() < bytes) {
      if (!Fill()) {
        return std::nullopt;
      }
    }
    std::string taken = buffer_.substr(0, bytes);
    buffer_.erase(0, bytes);
    return taken;
  }

  std::optional<std::string> TakeThrough(std::string_view end) {
    size_t at = 0;
    while ((at = buffer_.find(end)) == std::string::npos) {
      if (!Fill()) {
        return std::nullopt;
      }
    }
    return Take(at + end.size());
  }

  bool ReadChunks(ServedRequest& request) {
    for (;;) {
      std::optional<std::string> line = TakeThrough("\r\n");
      size_t bytes = 0;
      if (!line ||
          std::from_chars(line->data(), line->data() + line->size(), bytes, 16).ec != std::errc()) {
        return false;
      }
      std::optional<std::string> chunk = Take(bytes + 2);
      if (!chunk) {
        return false;
      }
      request.body.append(*chunk, 0, bytes);
      if (bytes == 0) {
        return true;
      }
    }
  }

  static ServedRequest ParseHead(std::string_view head) {
    ServedRequest request;
    std::string_view line = head.substr(0, head.find("\r\n"));
    head.remove_prefix(line.size() + 2);
    request.method = line.substr(0, line.find(' '));
    line.remove_prefix(std::min(line.size(), request.method.size() + 1));
    std::string_view target = line.substr(0, line.find(' '));
    size_t question = target.find('?');
    request.path = PercentDecode(target.substr(0, question));
    if (question != target.npos) {
      request.query = ParseQuery(target.substr(question + 1));
    }
    while (head.size() > 2) {
      line = head.substr(0, head.find("\r\n"));
      head.remove_prefix(line.size() + 2);
      size_t colon = line.find(':');
      if (colon != line.npos) {
        request.headers[LowerCase(line.substr(0, colon))] = Trim(line.substr(colon + 1));
      }
    }
    return request;
  }

  const int fd_;
  std::string buffer_;
};

std::string Lookup(const std::map<std::string, std::string>& map, const std::string& key) {
  auto found = map.find(key);
  return found == map.end() ? "" : found->second;
}

}  // namespace

std::string ServedRequest::Header(const std::string& lower_case_name) const {
  return Lookup(headers, lower_case_name);
}
std::string ServedRequest::Query(const std::string& name) const { return Lookup(query, name); }

bool ServedConnection::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) {
      close_ = true;
      return false;
    }
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

bool ServedConnection::WaitFor(std::chrono::milliseconds time) {
  std::array<pollfd, 2> fds = {pollfd{wake_, POLLIN, 0}, pollfd{fd_, POLLRDHUP, 0}};
  int ready = ::poll(fds.data(), fds.size(), static_cast<int>(time.count()));
  if (ready != 0) {
    close_ = true;
  }
  return ready == 0;
}

void ServedConnection::WaitForEnd() { (void)WaitFor(std::chrono::milliseconds(-1)); }

void ServedConnection::ResetAfterwards() {
  close_ = true;
  linger at_once{.l_onoff = 1, .l_linger = 0};
  (void)::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

FakeHttpServer::FakeHttpServer(Handler handler) : handler_(std::move(handler)) {
  listener_.Reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  wake_.Reset(::eventfd(0, EFD_CLOEXEC));
  FLOE_CHECK(listener_.valid() && wake_.valid());
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the sockets API wants it.
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  FLOE_CHECK(::bind(listener_.get(), generic, size) == 0);
  FLOE_CHECK(::listen(listener_.get(), SOMAXCONN) == 0);
  FLOE_CHECK(::getsockname(listener_.get(), generic, &size) == 0);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

FakeHttpServer::~FakeHttpServer() { Stop(); }

void FakeHttpServer::Stop() {
  {
    MutexLock lock(mutex_);
    if (std::exchange(stopped_, true)) {
      return;
    }
    uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof(one));
    for (Connection& connection : open_) {
      if (connection.fd.valid()) {
        (void)::shutdown(connection.fd.get(), SHUT_RDWR);
      }
    }
  }
  acceptor_.join();
  listener_.Reset();
  std::list<Connection> ended;
  {
    MutexLock lock(mutex_);
    ended.swap(open_);
  }
  for (Connection& connection : ended) {
    connection.thread.join();
  }
}

void FakeHttpServer::Accept() {
  for (;;) {
    std::array<pollfd, 2> fds = {pollfd{wake_.get(), POLLIN, 0},
                                 pollfd{listener_.get(), POLLIN, 0}};
    (void)::poll(fds.data(), fds.size(), -1);
    if (fds[0].revents != 0) {
      return;
    }
    UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd.valid()) {
      continue;
    }
    int on = 1;
    (void)::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    MutexLock lock(mutex_);
    if (stopped_) {
      return;
    }
    ++accepted_;
    Connection& connection = open_.emplace_back();
    connection.fd = std::move(fd);
    connection.thread = std::thread([this, &connection, raw = connection.fd.get()] {
      Serve(raw);
      UniqueFd closing;
      MutexLock inner(mutex_);
      closing = std::move(connection.fd);
    });
  }
}

void FakeHttpServer::Serve(int fd) {
  RequestReader reader(fd);
  while (std::optional<ServedRequest> request = reader.Next()) {
    ServedConnection connection(fd, wake_.get());
    handler_(*request, connection);
    if (connection.closing() || LowerCase(request->Header("connection")) == "close") {
      return;
    }
  }
}

}  // namespace floe::testing
