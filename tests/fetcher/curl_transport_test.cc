#include "fetcher/http/curl_transport.h"

#include <future>
#include <thread>

#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/support/fake_registry_server.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::fetcher {
namespace {

using floe::testing::FakeHttpServer;
using floe::testing::ServedConnection;
using floe::testing::ServedRequest;
using std::chrono::milliseconds;
using std::chrono::seconds;

class CurlTransportTest : public ::testing::Test {
 protected:
  CurlTransportTest() {
    auto created = CurlTransport::Create({.user_agent = "test/1"});
    EXPECT_TRUE(created.has_value());
    transport_ = *std::move(created);
  }

  /// Each answer, raw, to each request.
  void Serve(FakeHttpServer::Handler handler) {
    server_ = std::make_unique<FakeHttpServer>(std::move(handler));
  }
  void ServeRaw(const std::string& answer) {
    Serve([answer](const ServedRequest&, ServedConnection& connection) {
      (void)connection.Send(answer);
      connection.CloseAfterwards();
    });
  }
  HttpRequest Request(const std::string& path = "/") {
    HttpRequest request;
    request.url = fmt::format("http://127.0.0.1:{}{}", server_->port(), path);
    request.deadline = Deadline::After(seconds(60));
    return request;
  }

  std::unique_ptr<FakeHttpServer> server_;
  std::unique_ptr<CurlTransport> transport_;
};

TEST_F(CurlTransportTest, StatusHeadersAndBody) {
  ServeRaw("HTTP/1.1 203 Fine\r\nX-One: 1\r\nX-ONE: 2\r\nContent-Length: 5\r\n\r\nhello");
  FLOE_ASSERT_OK_AND_ASSIGN(HttpResponse response, transport_->Do(Request()));
  EXPECT_EQ(response.status, 203);
  EXPECT_EQ(response.body, "hello");
  EXPECT_EQ(response.Header("x-one"), "1");
  EXPECT_EQ(response.headers.count("x-one"), 2U);
  EXPECT_EQ(response.Header("x-two"), "");
}

TEST_F(CurlTransportTest, InterimAnswersAreNotTheAnswer) {
  ServeRaw(
      "HTTP/1.1 103 Early\r\nX-Early: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  FLOE_ASSERT_OK_AND_ASSIGN(HttpResponse response, transport_->Do(Request()));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.Header("x-early"), "");
}

TEST_F(CurlTransportTest, RequestsCarryWhatTheyAreGiven) {
  ServedRequest seen;
  Serve([&seen](const ServedRequest& request, ServedConnection& connection) {
    seen = request;
    (void)connection.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  });
  HttpRequest request = Request("/a/b?c=d");
  request.method = "PATCH";
  request.body = std::string(2 << 20, 'x');
  request.headers.emplace("X-Header", "value");
  FLOE_ASSERT_OK(transport_->Do(std::move(request)));
  EXPECT_EQ(seen.method, "PATCH");
  EXPECT_EQ(seen.path, "/a/b");
  EXPECT_EQ(seen.Query("c"), "d");
  EXPECT_EQ(seen.body.size(), 2U << 20U);
  EXPECT_EQ(seen.Header("x-header"), "value");
  EXPECT_EQ(seen.Header("user-agent"), "test/1");
  EXPECT_EQ(seen.Header("expect"), "");
  EXPECT_EQ(seen.Header("content-type"), "");
  EXPECT_EQ(seen.Header("accept-encoding"), "");
}

TEST_F(CurlTransportTest, RequestsThatCannotBeSentAreInvalid) {
  ServeRaw("");
  HttpRequest header = Request();
  header.headers.emplace("X", "a\r\nY: b");
  FLOE_EXPECT_ERROR(transport_->Do(header), ErrorCode::kInvalidArgument, "cannot be sent");
  for (const char* url : {"", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "http://a b/"}) {
    HttpRequest request;
    request.url = url;
    FLOE_EXPECT_ERROR(transport_->Do(request), ErrorCode::kInvalidArgument, "URL");
  }
}

TEST_F(CurlTransportTest, RedirectsAreAnAnswerLikeOthers) {
  ServeRaw("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
  FLOE_ASSERT_OK_AND_ASSIGN(HttpResponse response, transport_->Do(Request()));
  EXPECT_EQ(response.status, 302);
  EXPECT_EQ(response.Header("location"), "http://127.0.0.1:1/");
}

TEST_F(CurlTransportTest, AHeadHasNoBody) {
  ServeRaw("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
  HttpRequest request = Request();
  request.method = "HEAD";
  FLOE_ASSERT_OK_AND_ASSIGN(HttpResponse response, transport_->Do(std::move(request)));
  EXPECT_EQ(response.Header("content-length"), "500");
}

TEST_F(CurlTransportTest, ABodyBeyondItsLimitIsResourceExhausted) {
  ServeRaw("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world");
  HttpRequest request = Request();
  request.max_body_bytes = 10;
  FLOE_EXPECT_ERROR(transport_->Do(request), ErrorCode::kResourceExhausted, "10 bytes");
  request.max_body_bytes = 11;
  FLOE_EXPECT_OK(transport_->Do(request));
}

TEST_F(CurlTransportTest, AnEndlessErrorBodyIsCut) {
  Serve([](const ServedRequest&, ServedConnection& connection) {
    (void)connection.Send("HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n");
    std::string chunk = "1000\r\n" + std::string(0x1000, 'x') + "\r\n";
    while (connection.Send(chunk)) {
    }
  });
  FLOE_ASSERT_OK_AND_ASSIGN(HttpResponse response, transport_->Do(Request()));
  EXPECT_EQ(response.status, 500);
  EXPECT_LE(response.body.size(), 1U << 20U);
}

TEST_F(CurlTransportTest, ARefusalCountsHoweverItsBodyEnds) {
  ServeRaw("HTTP/1.1 416 No\r\nContent-Length: 1000\r\n\r\nshort");
  FLOE_ASSERT_OK_AND_ASSIGN(HttpResponse response, transport_->Do(Request()));
  EXPECT_EQ(response.status, 416);
  ServeRaw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort");
  FLOE_EXPECT_ERROR(transport_->Do(Request()), ErrorCode::kUnavailable, "995 bytes");
}

TEST_F(CurlTransportTest, EndlessHeadersAreRefused) {
  Serve([](const ServedRequest&, ServedConnection& connection) {
    (void)connection.Send("HTTP/1.1 200 OK\r\n");
    while (connection.Send("X-Header: " + std::string(1000, 'x') + "\r\n")) {
    }
  });
  FLOE_EXPECT_ERROR(transport_->Do(Request()), ErrorCode::kResourceExhausted, "headers");
}

TEST_F(CurlTransportTest, WhatIsNoHttpIsAFailedPrecondition) {
  ServeRaw("\x15\x03\x01\x00\x02\x02\x16");  // A TLS alert.
  FLOE_EXPECT_ERROR(transport_->Do(Request()), ErrorCode::kFailedPrecondition, "");
}

TEST_F(CurlTransportTest, OnHeadersSeesSuccessesAndMayEndThem) {
  ServeRaw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789");
  HttpRequest request = Request();
  request.on_headers = [](const HttpResponse& response) -> Result<void> {
    return DataLoss("length {}", response.Header("content-length"));
  };
  FLOE_EXPECT_ERROR(transport_->Do(request), ErrorCode::kDataLoss, "length 100");
  ServeRaw("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
  request.url = Request().url;
  FLOE_ASSERT_OK_AND_ASSIGN(HttpResponse response, transport_->Do(request));
  EXPECT_EQ(response.status, 404);
}

TEST_F(CurlTransportTest, TheSinkTakesTheBodyOfASuccessOnly) {
  ServeRaw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  size_t taken = 0;
  HttpRequest request = Request();
  request.sink = [&taken](std::span<const std::byte> bytes) {
    taken += bytes.size();
    return Ok();
  };
  FLOE_ASSERT_OK_AND_ASSIGN(HttpResponse response, transport_->Do(request));
  EXPECT_EQ(response.body, "");
  EXPECT_EQ(taken, 5U);
  ServeRaw("HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops");
  request.url = Request().url;
  FLOE_ASSERT_OK_AND_ASSIGN(HttpResponse failure, transport_->Do(request));
  EXPECT_EQ(failure.body, "oops");
  EXPECT_EQ(taken, 5U);
}

TEST_F(CurlTransportTest, TheSinksErrorIsTheResult) {
  ServeRaw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  HttpRequest request = Request();
  request.sink = [](std::span<const std::byte>) -> Result<void> { return Aborted("enough"); };
  FLOE_EXPECT_ERROR(transport_->Do(request), ErrorCode::kAborted, "enough");
}

TEST_F(CurlTransportTest, APausedExchangeWaitsAndGoesOn) {
  ServeRaw("HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n" + std::string(8000000, 'x'));
  std::atomic<size_t> taken{0};
  std::promise<void> paused;
  std::unique_ptr<HttpExchange> exchange;
  std::promise<Result<HttpResponse>> promise;
  HttpRequest request = Request();
  request.stall_timeout = milliseconds(100);
  request.sink = [&](std::span<const std::byte> bytes) {
    if (taken.exchange(taken + bytes.size()) == 0) {
      exchange->SetPaused(true);
      paused.set_value();
    }
    return Ok();
  };
  std::promise<void> started;
  transport_->tasks()->Post([&] {
    exchange = transport_->Start(
        request, [&](Result<HttpResponse> response) { promise.set_value(std::move(response)); });
    started.set_value();
  });
  started.get_future().wait();
  paused.get_future().wait();
  std::future<Result<HttpResponse>> future = promise.get_future();
  EXPECT_EQ(future.wait_for(milliseconds(300)), std::future_status::timeout);
  EXPECT_LT(taken.load(), 8000000U);
  exchange->SetPaused(false);
  FLOE_EXPECT_OK(future.get());
  EXPECT_EQ(taken.load(), 8000000U);
}

TEST_F(CurlTransportTest, ACallbackMayStartTheNextExchange) {
  Serve([](const ServedRequest&, ServedConnection& connection) {
    (void)connection.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  });
  std::promise<Result<HttpResponse>> promise;
  std::unique_ptr<HttpExchange> second;
  auto first = transport_->Start(Request(), [&](const Result<HttpResponse>&) {
    second = transport_->Start(
        Request(), [&](Result<HttpResponse> response) { promise.set_value(std::move(response)); });
  });
  FLOE_EXPECT_OK(promise.get_future().get());
  EXPECT_EQ(server_->connections(), 1);
}

TEST_F(CurlTransportTest, StoppingEndsEverythingWithCancelled) {
  Serve([](const ServedRequest&, ServedConnection& connection) { connection.WaitForEnd(); });
  std::vector<std::unique_ptr<HttpExchange>> exchanges;
  std::atomic<int> cancelled{0};
  for (int i = 0; i < 20; ++i) {
    exchanges.push_back(transport_->Start(Request(), [&](const Result<HttpResponse>& response) {
      cancelled += !response && response.error().code == ErrorCode::kCancelled ? 1 : 0;
    }));
  }
  transport_->Stop();
  EXPECT_EQ(cancelled.load(), 20);
  exchanges[0]->Cancel();
  exchanges[0]->SetPaused(true);
}

TEST_F(CurlTransportTest, ExchangesBeyondTheLimitNeitherStallNorLoseTheirTurn) {
  FLOE_ASSERT_OK_AND_ASSIGN(transport_, CurlTransport::Create({.max_connections_per_host = 1}));
  Serve([](const ServedRequest&, ServedConnection& connection) {
    (void)connection.WaitFor(milliseconds(30));
    (void)connection.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  });
  std::vector<std::unique_ptr<HttpExchange>> exchanges;
  std::vector<std::promise<Result<HttpResponse>>> promises(10);
  for (auto& promise : promises) {
    HttpRequest request = Request();
    request.stall_timeout = milliseconds(150);
    exchanges.push_back(transport_->Start(request, [&promise](Result<HttpResponse> response) {
      promise.set_value(std::move(response));
    }));
  }
  for (auto& promise : promises) {
    FLOE_EXPECT_OK(promise.get_future().get());
  }
  EXPECT_EQ(server_->connections(), 1);
}

TEST_F(CurlTransportTest, CaFilesAreCheckedAtTheStart) {
  floe::testing::TempDir directory;
  FLOE_EXPECT_ERROR(CurlTransport::Create({.ca_file = directory / "missing"}), ErrorCode::kNotFound,
                    "missing");
  FLOE_ASSERT_OK(WriteFileAtomically(directory / "empty.pem", "no certificate"));
  FLOE_EXPECT_ERROR(CurlTransport::Create({.ca_file = directory / "empty.pem"}),
                    ErrorCode::kInvalidArgument, "holds no PEM certificate");
}

}  // namespace
}  // namespace floe::fetcher
