#include "fetcher/http/http_error.h"

#include <curl/curl.h>
#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"

namespace floe::fetcher {
namespace {

const auto kNow = std::chrono::system_clock::from_time_t(1700000000);

TEST(HttpErrorTest, EveryStatusHasItsCode) {
  const std::pair<int, ErrorCode> rows[] = {
      {302, ErrorCode::kUnknown},
      {400, ErrorCode::kInvalidArgument},
      {401, ErrorCode::kUnauthenticated},
      {403, ErrorCode::kPermissionDenied},
      {404, ErrorCode::kNotFound},
      {405, ErrorCode::kUnimplemented},
      {407, ErrorCode::kUnauthenticated},
      {408, ErrorCode::kUnavailable},
      {409, ErrorCode::kAborted},
      {410, ErrorCode::kNotFound},
      {412, ErrorCode::kFailedPrecondition},
      {413, ErrorCode::kResourceExhausted},
      {416, ErrorCode::kOutOfRange},
      {418, ErrorCode::kUnknown},
      {421, ErrorCode::kUnavailable},
      {422, ErrorCode::kInvalidArgument},
      {425, ErrorCode::kUnavailable},
      {429, ErrorCode::kResourceExhausted},
      {500, ErrorCode::kUnavailable},
      {501, ErrorCode::kUnimplemented},
      {502, ErrorCode::kUnavailable},
      {503, ErrorCode::kUnavailable},
      {504, ErrorCode::kUnavailable},
      {505, ErrorCode::kUnimplemented},
  };
  for (const auto& [status, code] : rows) {
    EXPECT_EQ(CodeOfStatus(status), code) << status;
  }
}

TEST(HttpErrorTest, EveryCurlCodeHasItsCode) {
  const std::pair<CURLcode, ErrorCode> rows[] = {
      {CURLE_COULDNT_RESOLVE_HOST, ErrorCode::kUnavailable},
      {CURLE_COULDNT_CONNECT, ErrorCode::kUnavailable},
      {CURLE_OPERATION_TIMEDOUT, ErrorCode::kUnavailable},
      {CURLE_SSL_CONNECT_ERROR, ErrorCode::kUnavailable},
      {CURLE_PARTIAL_FILE, ErrorCode::kUnavailable},
      {CURLE_GOT_NOTHING, ErrorCode::kUnavailable},
      {CURLE_SEND_ERROR, ErrorCode::kUnavailable},
      {CURLE_RECV_ERROR, ErrorCode::kUnavailable},
      {CURLE_HTTP2, ErrorCode::kUnavailable},
      {CURLE_HTTP2_STREAM, ErrorCode::kUnavailable},
      {CURLE_PEER_FAILED_VERIFICATION, ErrorCode::kFailedPrecondition},
      {CURLE_SSL_CACERT_BADFILE, ErrorCode::kFailedPrecondition},
      {CURLE_UNSUPPORTED_PROTOCOL, ErrorCode::kFailedPrecondition},
      {CURLE_WEIRD_SERVER_REPLY, ErrorCode::kFailedPrecondition},
      {CURLE_URL_MALFORMAT, ErrorCode::kInvalidArgument},
      {CURLE_OUT_OF_MEMORY, ErrorCode::kResourceExhausted},
      {CURLE_ABORTED_BY_CALLBACK, ErrorCode::kCancelled},
      {CURLE_BAD_CONTENT_ENCODING, ErrorCode::kDataLoss},
  };
  for (const auto& [curl, code] : rows) {
    EXPECT_EQ(CodeOfCurl(curl), code) << curl_easy_strerror(curl);
  }
}

TEST(HttpErrorTest, EveryStatusHasItsFault) {
  const std::pair<int, FaultKind> rows[] = {
      {302, FaultKind::kOther},
      {400, FaultKind::kOther},
      {401, FaultKind::kUnauthenticated},
      {403, FaultKind::kForbidden},
      {404, FaultKind::kNotFound},
      {407, FaultKind::kUnauthenticated},
      {408, FaultKind::kOther},
      {410, FaultKind::kNotFound},
      {416, FaultKind::kRangeNotSatisfiable},
      {429, FaultKind::kTooManyRequests},
      {500, FaultKind::kServerError},
      {503, FaultKind::kServerError},
  };
  for (const auto& [status, fault] : rows) {
    EXPECT_EQ(FaultOfStatus(status), fault) << status;
    const HttpResponse response{.status = status, .headers = {}, .body = {}};
    EXPECT_EQ(StatusError(response, "x", kNow).fault, fault) << status;
  }
}

TEST(HttpErrorTest, EveryCurlCodeHasItsFault) {
  const std::pair<CURLcode, FaultKind> rows[] = {
      {CURLE_COULDNT_RESOLVE_HOST, FaultKind::kConnection},
      {CURLE_COULDNT_CONNECT, FaultKind::kConnection},
      {CURLE_GOT_NOTHING, FaultKind::kConnection},
      {CURLE_RECV_ERROR, FaultKind::kConnection},
      {CURLE_HTTP2_STREAM, FaultKind::kConnection},
      {CURLE_PARTIAL_FILE, FaultKind::kShortBody},
      {CURLE_OPERATION_TIMEDOUT, FaultKind::kStalled},
      {CURLE_PEER_FAILED_VERIFICATION, FaultKind::kTls},
      {CURLE_WEIRD_SERVER_REPLY, FaultKind::kOther},
      {CURLE_BAD_CONTENT_ENCODING, FaultKind::kWrongBytes},
  };
  for (const auto& [curl, fault] : rows) {
    EXPECT_EQ(CurlError(curl, "", "x").fault, fault) << curl_easy_strerror(curl);
  }
}

TEST(HttpErrorTest, TheRegistrysOwnWordsAreRepeatedWithoutSecrets) {
  HttpResponse response{.status = 404, .headers = {}, .body = {}};
  response.body =
      R"({"errors":[{"code":"BLOB_UNKNOWN","message":"not at https://s3/x?sig=s3cret\nreally"}]})";
  Error error = StatusError(response, "GET https://r/v2/a", kNow);
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_EQ(error.message,
            "GET https://r/v2/a: status 404, BLOB_UNKNOWN: not at https://s3/x?... really");
}

TEST(HttpErrorTest, OtherBodiesAreNotRepeated) {
  for (const char* body : {"", "<html>", "[]", "{\"errors\":{}}", "{\"errors\":[]}",
                           "{\"errors\":[1]}", "{\"errors\":[{\"code\":7}]}"}) {
    HttpResponse response{.status = 500, .headers = {}, .body = body};
    EXPECT_EQ(StatusError(response, "x", kNow).message, "x: status 500") << body;
  }
}

TEST(HttpErrorTest, RetryAfterInSecondsOrAsADate) {
  using std::chrono::milliseconds;
  EXPECT_EQ(ParseRetryAfter("7", kNow), milliseconds(7000));
  EXPECT_EQ(ParseRetryAfter("0", kNow), milliseconds(0));
  EXPECT_EQ(ParseRetryAfter("Tue, 14 Nov 2023 22:13:30 GMT", kNow), milliseconds(10000));
  EXPECT_EQ(ParseRetryAfter("Tue, 14 Nov 2023 22:13:10 GMT", kNow), milliseconds(0));
  EXPECT_EQ(ParseRetryAfter("99999999999", kNow), std::chrono::hours(24));
  EXPECT_FALSE(ParseRetryAfter("soon", kNow).has_value());
  EXPECT_FALSE(ParseRetryAfter("", kNow).has_value());
  HttpResponse response{.status = 429, .headers = {{"retry-after", "3"}}, .body = {}};
  EXPECT_EQ(StatusError(response, "x", kNow).retry_after, milliseconds(3000));
}

TEST(HttpErrorTest, AServerWithoutTlsIsNamedAsSuch) {
  Error error = CurlError(CURLE_SSL_CONNECT_ERROR, "ssl3_get_record:wrong version number", "GET x");
  EXPECT_EQ(error.code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(error.fault, FaultKind::kTls);
  EXPECT_THAT(error.message, ::testing::HasSubstr("plain HTTP"));
}

}  // namespace
}  // namespace floe::fetcher
