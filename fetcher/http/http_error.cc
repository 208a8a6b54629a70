#include "fetcher/http/http_error.h"

#include <algorithm>
#include <charconv>

#include <curl/curl.h>
#include <nlohmann/json.hpp>

#include "fetcher/redact.h"

namespace floe::fetcher {
namespace {

// Longer waits are as good as none: the caller's deadline decides.
constexpr std::chrono::hours kMaxRetryAfter{24};

struct CurlRow {
  CURLcode curl;
  ErrorCode code;
  FaultKind fault = FaultKind::kOther;
};

// Everything that is not listed is a hiccup of the network.
constexpr CurlRow kHiccup = {CURLE_OK, ErrorCode::kUnavailable, FaultKind::kConnection};
constexpr CurlRow kCurlRows[] = {
    {CURLE_UNSUPPORTED_PROTOCOL, ErrorCode::kFailedPrecondition},
    {CURLE_WEIRD_SERVER_REPLY, ErrorCode::kFailedPrecondition},
    {CURLE_URL_MALFORMAT, ErrorCode::kInvalidArgument},
    {CURLE_OUT_OF_MEMORY, ErrorCode::kResourceExhausted},
    {CURLE_ABORTED_BY_CALLBACK, ErrorCode::kCancelled},
    {CURLE_BAD_FUNCTION_ARGUMENT, ErrorCode::kInternal},
    {CURLE_FAILED_INIT, ErrorCode::kInternal},
    {CURLE_NOT_BUILT_IN, ErrorCode::kInternal},
    {CURLE_UNKNOWN_OPTION, ErrorCode::kInternal},
    {CURLE_WRITE_ERROR, ErrorCode::kInternal},
    {CURLE_PEER_FAILED_VERIFICATION, ErrorCode::kFailedPrecondition, FaultKind::kTls},
    {CURLE_SSL_CERTPROBLEM, ErrorCode::kFailedPrecondition, FaultKind::kTls},
    {CURLE_SSL_CIPHER, ErrorCode::kFailedPrecondition, FaultKind::kTls},
    {CURLE_SSL_CACERT_BADFILE, ErrorCode::kFailedPrecondition, FaultKind::kTls},
    {CURLE_SSL_ISSUER_ERROR, ErrorCode::kFailedPrecondition, FaultKind::kTls},
    {CURLE_SSL_INVALIDCERTSTATUS, ErrorCode::kFailedPrecondition, FaultKind::kTls},
    {CURLE_SSL_PINNEDPUBKEYNOTMATCH, ErrorCode::kFailedPrecondition, FaultKind::kTls},
    {CURLE_BAD_CONTENT_ENCODING, ErrorCode::kDataLoss, FaultKind::kWrongBytes},
    {CURLE_PARTIAL_FILE, ErrorCode::kUnavailable, FaultKind::kShortBody},
    // To connect; everything later is timed by the transport.
    {CURLE_OPERATION_TIMEDOUT, ErrorCode::kUnavailable, FaultKind::kStalled},
};

const CurlRow& RowOfCurl(int curl_code) {
  const auto* row = std::find_if(std::begin(kCurlRows), std::end(kCurlRows),
                                 [&](const CurlRow& r) { return r.curl == curl_code; });
  return row == std::end(kCurlRows) ? kHiccup : *row;
}

/// "CODE: message" of the first error of the registry's JSON body; empty when there is none.
std::string RegistrysOwnWords(const std::string& body) {
  nlohmann::json json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return "";
  }
  auto errors = json.find("errors");
  if (errors == json.end() || !errors->is_array() || errors->empty() || !(*errors)[0].is_object()) {
    return "";
  }
  std::string words;
  for (const char* key : {"code", "message"}) {
    auto field = (*errors)[0].find(key);
    if (field != (*errors)[0].end() && field->is_string()) {
      words += words.empty() ? "" : ": ";
      words += field->get<std::string>();
    }
  }
  return RedactText(words);
}

}  // namespace

ErrorCode CodeOfStatus(int status) {
  switch (status) {
    case 400:
    case 422:
      return ErrorCode::kInvalidArgument;
    case 401:
    case 407:
      return ErrorCode::kUnauthenticated;
    case 403:
      return ErrorCode::kPermissionDenied;
    case 404:
    case 410:
      return ErrorCode::kNotFound;
    case 405:
    case 501:
    case 505:
      return ErrorCode::kUnimplemented;
    case 409:
      return ErrorCode::kAborted;
    case 412:
      return ErrorCode::kFailedPrecondition;
    case 413:
    case 429:
      return ErrorCode::kResourceExhausted;
    case 416:
      return ErrorCode::kOutOfRange;
    case 408:
    case 421:
    case 425:
      return ErrorCode::kUnavailable;
    default:
      return status >= 500 ? ErrorCode::kUnavailable : ErrorCode::kUnknown;
  }
}

ErrorCode CodeOfCurl(int curl_code) { return RowOfCurl(curl_code).code; }

FaultKind FaultOfStatus(int status) {
  switch (status) {
    case 401:
    case 407:
      return FaultKind::kUnauthenticated;
    case 403:
      return FaultKind::kForbidden;
    case 404:
    case 410:
      return FaultKind::kNotFound;
    case 416:
      return FaultKind::kRangeNotSatisfiable;
    case 429:
      return FaultKind::kTooManyRequests;
    default:
      return status >= 500 ? FaultKind::kServerError : FaultKind::kOther;
  }
}

FaultKind FaultOfCurl(int curl_code) { return RowOfCurl(curl_code).fault; }

Error StatusError(const HttpResponse& response, std::string_view what,
                  std::chrono::system_clock::time_point now) {
  Error error;
  error.code = CodeOfStatus(response.status);
  error.fault = FaultOfStatus(response.status);
  std::string words = RegistrysOwnWords(response.body);
  error.message = words.empty() ? fmt::format("{}: status {}", what, response.status)
                                : fmt::format("{}: status {}, {}", what, response.status, words);
  error.retry_after = ParseRetryAfter(response.Header("retry-after"), now);
  return error;
}

Error CurlError(int curl_code, std::string_view detail, std::string_view what) {
  auto code = static_cast<CURLcode>(curl_code);
  Error error;
  error.code = CodeOfCurl(curl_code);
  error.fault = FaultOfCurl(curl_code);
  error.message =
      fmt::format("{}: {}", what, detail.empty() ? curl_easy_strerror(code) : RedactText(detail));
  // The handshake fails for many reasons; only this one never goes away.
  if (code == CURLE_SSL_CONNECT_ERROR && detail.find("wrong version number") != detail.npos) {
    error.code = ErrorCode::kFailedPrecondition;
    error.fault = FaultKind::kTls;
    error.message += " (plain HTTP on this port? it must be configured)";
  }
  return error;
}

std::optional<std::chrono::milliseconds> ParseRetryAfter(
    std::string_view value, std::chrono::system_clock::time_point now) {
  if (value.empty()) {
    return std::nullopt;
  }
  int64_t seconds = 0;
  auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (error != std::errc() || end != value.data() + value.size()) {
    time_t date = curl_getdate(std::string(value).c_str(), nullptr);
    if (date < 0) {
      return std::nullopt;
    }
    seconds = date - std::chrono::system_clock::to_time_t(now);
  }
  constexpr int64_t kMax = std::chrono::seconds(kMaxRetryAfter).count();
  return std::chrono::seconds(std::clamp<int64_t>(seconds, 0, kMax));
}

}  // namespace floe::fetcher
