#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "fetcher/transport.h"

/// The one table from HTTP statuses and libcurl's codes to Error.
namespace floe::fetcher {

/// The code that an HTTP status which is no success stands for.
[[nodiscard]] ErrorCode CodeOfStatus(int status);

/// The code that a CURLcode other than CURLE_OK stands for. FailedPrecondition: the peer speaks
/// something else, or its certificate is not trusted; trying again is of no use.
[[nodiscard]] ErrorCode CodeOfCurl(int curl_code);

/// The fault that such a status is when the registry itself answers.
[[nodiscard]] FaultKind FaultOfStatus(int status);

/// The fault that such a CURLcode is.
[[nodiscard]] FaultKind FaultOfCurl(int curl_code);

/// From an answer: "what: status 404, MANIFEST_UNKNOWN: ...", with retry_after from Retry-After
/// and the status's fault. The registry's own words come from the JSON body of the distribution
/// spec, redacted and cut.
Error StatusError(const HttpResponse& response, std::string_view what,
                  std::chrono::system_clock::time_point now);

/// `detail` is libcurl's error buffer; it is redacted.
Error CurlError(int curl_code, std::string_view detail, std::string_view what);

/// Seconds or an HTTP date (RFC 9110, 10.2.3), never negative; nothing when it is neither.
std::optional<std::chrono::milliseconds> ParseRetryAfter(std::string_view value,
                                                         std::chrono::system_clock::time_point now);

}  // namespace floe::fetcher
