#include "fetcher/http/curl_transfer.h"

#include <sys/socket.h>

#include <algorithm>
#include <cctype>

#include "fetcher/http/http_error.h"
#include "fetcher/http/url.h"
#include "fetcher/redact.h"

namespace floe::fetcher {
namespace {

// Fewer, larger callbacks: units are hundreds of KiB.
constexpr long kReceiveBufferBytes = 256L << 10U;
constexpr size_t kMaxHeaderBytes = 256U << 10U;
// Of an answer that is no success nobody needs more.
constexpr size_t kMaxErrorBodyBytes = 64U << 10U;
// A transfer that is slower than this for the whole stall timeout has stalled.
constexpr uint64_t kMinBytesPerSecond = 256;

bool HasLineBreak(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) != text.npos;
}

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  size_t first = std::min(text.find_first_not_of(kSpace), text.size());
  text.remove_prefix(first);
  return text.substr(0, text.find_last_not_of(kSpace) + 1);
}

}  // namespace

Result<void> CurlTransfer::Configure(CURL* easy, CURLSH* share, const CurlSettings& settings) {
  easy_ = easy;
  MarkProgress();
  Set(CURLOPT_PRIVATE, this);
  Set(CURLOPT_URL, request_.url.c_str());
  Set(CURLOPT_PROTOCOLS_STR, "http,https");
  Set(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
  Set(CURLOPT_FOLLOWLOCATION, 0L);
  Set(CURLOPT_NOSIGNAL, 1L);
  Set(CURLOPT_TCP_NODELAY, 1L);
  Set(CURLOPT_TCP_KEEPALIVE, 1L);
  Set(CURLOPT_BUFFERSIZE, kReceiveBufferBytes);
  Set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(settings.connect_timeout.count()));
  Set(CURLOPT_ERRORBUFFER, error_text_.data());
  Set(CURLOPT_HEADERFUNCTION, &OnHeader);
  Set(CURLOPT_HEADERDATA, this);
  Set(CURLOPT_WRITEFUNCTION, &OnBody);
  Set(CURLOPT_WRITEDATA, this);
  Set(CURLOPT_PREREQFUNCTION, &OnRequest);
  Set(CURLOPT_PREREQDATA, this);
  Set(CURLOPT_OPENSOCKETFUNCTION, &OnOpenSocket);
  Set(CURLOPT_OPENSOCKETDATA, this);
  // A proxy of the environment can reach the world, but not this machine.
  Result<Url> url = Url::Parse(request_.url);
  if (url && IsLoopbackHost(url->host)) {
    Set(CURLOPT_PROXY, "");
  }
  SetTls(share, settings);
  SetMethod();
  return SetHeaders(settings.user_agent);
}

void CurlTransfer::Unconfigure() {
  curl_slist_free_all(headers_);
  headers_ = nullptr;
  easy_ = nullptr;
}

void CurlTransfer::SetTls(CURLSH* share, const CurlSettings& settings) {
  Set(CURLOPT_SHARE, share);
  Set(CURLOPT_SSLVERSION, long{CURL_SSLVERSION_TLSv1_2});
  // With a file alone libcurl keeps the parsed certificates from one connection to the next; with a
  // directory it parses some hundred certificates for each.
  Set(CURLOPT_CAPATH, static_cast<const char*>(nullptr));
  if (!settings.ca_path.empty()) {
    Set(CURLOPT_CAINFO, settings.ca_path.c_str());
  }
  bool http2 = settings.http2 && request_.url.starts_with("https:");
  Set(CURLOPT_HTTP_VERSION, long{http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1});
  // Rather wait for the first connection than open a second one that HTTP/2 does not need.
  Set(CURLOPT_PIPEWAIT, http2 ? 1L : 0L);
}

void CurlTransfer::SetMethod() {
  if (request_.method == "GET") {
    Set(CURLOPT_HTTPGET, 1L);
  } else if (request_.method == "HEAD") {
    Set(CURLOPT_NOBODY, 1L);
  } else {
    Set(CURLOPT_CUSTOMREQUEST, request_.method.c_str());
    Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    Set(CURLOPT_POSTFIELDS, request_.body.data());
    Set(CURLOPT_XFERINFOFUNCTION, &OnProgress);
    Set(CURLOPT_XFERINFODATA, this);
    Set(CURLOPT_NOPROGRESS, 0L);
  }
}

Result<void> CurlTransfer::SetHeaders(const std::string& user_agent) {
  Set(CURLOPT_USERAGENT, user_agent.c_str());
  bool has_type = false;
  for (const auto& [name, value] : request_.headers) {
    if (name.empty() || HasLineBreak(name) || HasLineBreak(value)) {
      return InvalidArgument("a header that cannot be sent: {}", RedactText(name));
    }
    has_type = has_type || name == "Content-Type";
    headers_ = curl_slist_append(headers_, fmt::format("{}: {}", name, value).c_str());
  }
  // No round trip for a permission to send, and no type that libcurl makes up.
  headers_ = curl_slist_append(headers_, "Expect:");
  if (!has_type) {
    headers_ = curl_slist_append(headers_, "Content-Type:");
  }
  Set(CURLOPT_HTTPHEADER, headers_);
  return Ok();
}

void CurlTransfer::SetPaused(bool paused) {
  if (paused_ == paused) {
    return;
  }
  paused_ = paused;
  MarkProgress();
  if (easy_ != nullptr) {
    (void)curl_easy_pause(easy_, paused ? CURLPAUSE_RECV : CURLPAUSE_CONT);
  }
}

Clock::TimePoint CurlTransfer::LastProgress() const {
  return paused_ || !started_ ? Clock::Real().Now() : last_progress_;
}

Result<HttpResponse> CurlTransfer::TakeResult(CURLcode code) {
  if (!callback_result_) {
    return std::move(callback_result_).error();
  }
  // The status of a refusal counts, however its body ended: docker-registry announces the blob's
  // length with a 416 and sends another.
  bool refused = headers_done_ && !succeeded();
  if (code == CURLE_OK || refused) {
    return std::move(response_);
  }
  return CurlError(code, error_text_.data(),
                   fmt::format("{} {}", request_.method, RedactUrl(request_.url)));
}

// --- libcurl's callbacks ---

size_t CurlTransfer::OnHeader(char* data, size_t size, size_t count, void* self) {
  auto& transfer = *static_cast<CurlTransfer*>(self);
  transfer.callback_result_ = transfer.TakeHeaderLine(std::string_view(data, size * count));
  return transfer.callback_result_ ? size * count : 0;
}

size_t CurlTransfer::OnBody(char* data, size_t size, size_t count, void* self) {
  auto& transfer = *static_cast<CurlTransfer*>(self);
  transfer.callback_result_ = transfer.TakeBody(std::string_view(data, size * count));
  return transfer.callback_result_ && !transfer.error_body_cut_ ? size * count : 0;
}

int CurlTransfer::OnProgress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t sent) {
  auto& transfer = *static_cast<CurlTransfer*>(self);
  if (sent != transfer.sent_) {
    transfer.sent_ = sent;
    transfer.MarkProgress();
  }
  return 0;
}

int CurlTransfer::OnRequest(void* self, char*, char*, int, int) {
  auto& transfer = *static_cast<CurlTransfer*>(self);
  transfer.started_ = true;
  transfer.MarkProgress();
  ++transfer.counters_.requests;
  return CURL_PREREQFUNC_OK;
}

curl_socket_t CurlTransfer::OnOpenSocket(void* self, curlsocktype, curl_sockaddr* address) {
  auto& transfer = *static_cast<CurlTransfer*>(self);
  transfer.started_ = true;
  transfer.MarkProgress();
  ++transfer.counters_.connections;
  // Credential helpers must not inherit it.
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

void CurlTransfer::MarkProgress() {
  last_progress_ = Clock::Real().Now();
  received_since_ = 0;
}

void CurlTransfer::CountReceived(size_t bytes) {
  received_since_ += bytes;
  if (received_since_ * 1000 >=
      kMinBytesPerSecond * static_cast<uint64_t>(request_.stall_timeout.count())) {
    MarkProgress();
  }
}

Result<void> CurlTransfer::TakeHeaderLine(std::string_view line) {
  CountReceived(line.size());
  header_bytes_ += line.size();
  if (header_bytes_ > kMaxHeaderBytes) {
    return ResourceExhausted("{}: more than {} bytes of headers", RedactUrl(request_.url),
                             kMaxHeaderBytes);
  }
  if (headers_done_) {
    return Ok();  // Trailers.
  }
  if (line.starts_with("HTTP/")) {
    response_.headers.clear();
    long status = 0;
    (void)curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    response_.status = static_cast<int>(status);
    return Ok();
  }
  line = Trim(line);
  if (line.empty()) {
    return EndHeaders();
  }
  size_t colon = std::min(line.find(':'), line.size());
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  line.remove_prefix(std::min(colon + 1, line.size()));
  response_.headers.emplace(std::move(name), Trim(line));
  return Ok();
}

Result<void> CurlTransfer::EndHeaders() {
  if (response_.status / 100 == 1) {
    return Ok();
  }
  headers_done_ = true;
  MarkProgress();
  long version = 0;
  (void)curl_easy_getinfo(easy_, CURLINFO_HTTP_VERSION, &version);
  http1_ = version < CURL_HTTP_VERSION_2_0;
  if (on_protocol) {
    on_protocol();
  }
  if (succeeded() && request_.on_headers) {
    FLOE_RETURN_IF_ERROR(request_.on_headers(response_));
  }
  if (succeeded() && !request_.sink && request_.expected_body_bytes) {
    response_.body.reserve(std::min(*request_.expected_body_bytes, request_.max_body_bytes));
  }
  return Ok();
}

Result<void> CurlTransfer::TakeBody(std::string_view bytes) {
  CountReceived(bytes.size());
  counters_.body_bytes += bytes.size();
  if (!succeeded()) {
    response_.body.append(bytes.substr(0, kMaxErrorBodyBytes - response_.body.size()));
    error_body_cut_ = response_.body.size() == kMaxErrorBodyBytes;
    return Ok();
  }
  if (request_.sink) {
    return request_.sink(std::as_bytes(std::span(bytes.data(), bytes.size())));
  }
  if (bytes.size() > request_.max_body_bytes - response_.body.size()) {
    return WithFault(ResourceExhausted("{}: body longer than {} bytes", RedactUrl(request_.url),
                                       request_.max_body_bytes),
                     FaultKind::kWrongSize);
  }
  response_.body.append(bytes);
  return Ok();
}

}  // namespace floe::fetcher
