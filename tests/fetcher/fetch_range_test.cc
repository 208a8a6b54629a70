#include "tests/fetcher/client_fixture.h"

namespace floe::fetcher {
namespace {

using FetchRangeTest = ClientTest;

TEST_F(FetchRangeTest, ExactlyTheBytesOfTheRange) {
  ExpectFetches({0, 1});
  ExpectFetches({4096, 8192});
  ExpectFetches({99999, 1});
  ExpectFetches({0, 100000});
}

TEST_F(FetchRangeTest, RequestsAreKeptOnOneConnection) {
  for (uint64_t i = 0; i < 10; ++i) {
    ExpectFetches({i * 100, 100});
  }
  EXPECT_EQ(registry_->connections(), 1);
}

TEST_F(FetchRangeTest, ParallelRequestsStayWithinTheConnectionLimit) {
  options_.max_connections_per_host = 3;
  registry_->SetLatency(milliseconds(5));
  Results results;
  std::vector<std::unique_ptr<FetchHandle>> handles;
  for (uint64_t i = 0; i < 40; ++i) {
    handles.push_back(client().FetchRange(Wanted({i * 10, 10}), results.Add()));
  }
  for (const auto& result : results.Wait(40)) {
    FLOE_EXPECT_OK(result);
  }
  EXPECT_LE(registry_->connections(), 3);
  EXPECT_EQ(registry_->max_parallel_requests(), 3);
}

TEST_F(FetchRangeTest, EmptyAndOverflowingRangesAreInvalid) {
  FLOE_EXPECT_ERROR(Fetch({5, 0}), ErrorCode::kInvalidArgument, "[5, +0)");
  FLOE_EXPECT_ERROR(Fetch({5, UINT64_MAX}), ErrorCode::kInvalidArgument, "[5, ");
  EXPECT_EQ(registry_->requests().size(), 0U);
}

TEST_F(FetchRangeTest, ARangePastTheEndIsOutOfRange) {
  FLOE_EXPECT_ERROR(Fetch({100000, 10}), ErrorCode::kOutOfRange, "status 416");
}

TEST_F(FetchRangeTest, ARangeAcrossTheEndIsDataLoss) {
  FLOE_EXPECT_ERROR(Fetch({99990, 20}), ErrorCode::kDataLoss, "");
}

TEST_F(FetchRangeTest, AMissingBlobIsNotFound) {
  registry_->RemoveBlob(repository_.path, digest_);
  FLOE_EXPECT_ERROR(Fetch({0, 10}), ErrorCode::kNotFound, "BLOB_UNKNOWN");
}

TEST_F(FetchRangeTest, A200ToARangeIsDataLossAndItsBodyIsNotRead) {
  registry_->InjectFault({.kind = Fault::Kind::kIgnoreRange});
  FLOE_EXPECT_ERROR(Fetch({10, 10}), ErrorCode::kDataLoss, "status 200");
  EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 1);
  EXPECT_EQ(client().counters().body_bytes, 0U);
  ExpectFetches({10, 10});
}

TEST_F(FetchRangeTest, A200IsFineWhenTheRangeIsTheWholeBlob) {
  registry_->InjectFault({.kind = Fault::Kind::kIgnoreRange});
  ExpectFetches({0, 100000});
}

TEST_F(FetchRangeTest, AWrongContentRangeIsDataLoss) {
  registry_->InjectFault({.kind = Fault::Kind::kWrongContentRange});
  FLOE_EXPECT_ERROR(Fetch({10, 10}), ErrorCode::kDataLoss, "[11, 21) instead of [10, 20)");
  EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 1);
}

TEST_F(FetchRangeTest, ALengthOtherThanTheRangesIsDataLoss) {
  registry_->InjectFault({.kind = Fault::Kind::kWrongLength, .bytes = 5});
  FLOE_EXPECT_ERROR(Fetch({10, 10}), ErrorCode::kDataLoss, "Content-Length 5");
  registry_->InjectFault({.kind = Fault::Kind::kWrongLength, .bytes = 50});
  FLOE_EXPECT_ERROR(Fetch({10, 10}), ErrorCode::kDataLoss, "Content-Length 50");
}

TEST_F(FetchRangeTest, LostConnectionsAreTriedAgain) {
  for (Fault::Kind kind : {Fault::Kind::kShortBody, Fault::Kind::kReset, Fault::Kind::kClose}) {
    registry_->InjectFault({.kind = kind, .times = 2, .bytes = 3});
    ExpectFetches({10, 1000});
  }
}

TEST_F(FetchRangeTest, ConnectionsLostAgainAndAgainAreUnavailable) {
  for (Fault::Kind kind : {Fault::Kind::kShortBody, Fault::Kind::kReset}) {
    registry_->ClearFaults();
    registry_->ForgetRequests();
    registry_->InjectFault({.kind = kind, .times = Fault::kForever, .bytes = 3});
    FLOE_EXPECT_ERROR(Fetch({10, 1000}), ErrorCode::kUnavailable, "bytes [10, 1010)");
    EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), options_.max_attempts);
  }
}

TEST_F(FetchRangeTest, ServerErrorsAreTriedAgain) {
  registry_->InjectFault({.times = 3, .status = 503});
  ExpectFetches({0, 10});
  EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 4);
  registry_->InjectFault({.times = 4, .status = 500});
  FLOE_EXPECT_ERROR(Fetch({0, 10}), ErrorCode::kUnavailable, "status 500");
  ExpectFetches({0, 10});
}

TEST_F(FetchRangeTest, OtherRefusalsAreFinal) {
  const std::pair<int, ErrorCode> rows[] = {{400, ErrorCode::kInvalidArgument},
                                            {403, ErrorCode::kPermissionDenied},
                                            {404, ErrorCode::kNotFound},
                                            {405, ErrorCode::kUnimplemented},
                                            {302, ErrorCode::kUnknown}};
  for (const auto& [status, code] : rows) {
    registry_->ForgetRequests();
    registry_->InjectFault({.status = status});
    FLOE_EXPECT_ERROR(Fetch({0, 10}), code, std::to_string(status));
    EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 1) << status;
  }
}

TEST_F(FetchRangeTest, RetryAfterIsWaitedFor) {
  registry_->InjectFault({.status = 429, .headers = {{"Retry-After", "1"}}});
  auto before = Clock::Real().Now();
  ExpectFetches({0, 10});
  EXPECT_GE(Clock::Real().Now() - before, milliseconds(990));
}

TEST_F(FetchRangeTest, ARetryAfterBeyondTheDeadlineIsTheAnswer) {
  for (int status : {429, 503}) {
    registry_->InjectFault({.status = status, .headers = {{"Retry-After", "30"}}});
    Result<std::string> bytes = Fetch({0, 10}, Deadline::After(seconds(20)));
    ASSERT_FALSE(bytes.has_value());
    EXPECT_EQ(bytes.error().code,
              status == 429 ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable);
    EXPECT_EQ(bytes.error().retry_after, seconds(30));
  }
}

TEST_F(FetchRangeTest, ASilentServerEndsWithTheDeadline) {
  registry_->InjectFault({.kind = Fault::Kind::kHang});
  FLOE_EXPECT_ERROR(Fetch({0, 10}, Deadline::After(milliseconds(30))), ErrorCode::kDeadlineExceeded,
                    "");
  ExpectFetches({0, 10});
}

TEST_F(FetchRangeTest, AStalledBodyIsGivenUpAndTriedAgain) {
  options_.stall_timeout = milliseconds(50);
  registry_->InjectFault({.kind = Fault::Kind::kStall, .bytes = 5});
  registry_->InjectFault({.kind = Fault::Kind::kHang});
  ExpectFetches({0, 1000});
  EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 3);
}

TEST_F(FetchRangeTest, ASlowBodyThatMovesIsNotStalled) {
  options_.stall_timeout = milliseconds(200);
  registry_->InjectFault({.kind = Fault::Kind::kSlow, .bytes = 10, .interval = milliseconds(20)});
  ExpectFetches({0, 200});  // 400 ms all in all.
  EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 1);
}

TEST_F(FetchRangeTest, ASlowBodyEndsWithTheDeadline) {
  registry_->InjectFault({.kind = Fault::Kind::kSlow, .bytes = 1, .interval = milliseconds(5)});
  FLOE_EXPECT_ERROR(Fetch({0, 100000}, Deadline::After(milliseconds(50))),
                    ErrorCode::kDeadlineExceeded, "");
}

TEST_F(FetchRangeTest, OneFailureLeavesTheOthersAlone) {
  options_.stall_timeout = seconds(30);
  registry_->InjectFault({.kind = Fault::Kind::kHang});
  Results hanging;
  auto handle = client().FetchRange(Wanted({0, 10}), hanging.Add());
  while (registry_->CountRequests("GET", "/blobs/") == 0) {
    std::this_thread::yield();
  }
  ExpectFetches({0, 10});
  handle->Cancel();
  FLOE_EXPECT_ERROR(hanging.One(), ErrorCode::kCancelled, "");
}

TEST_F(FetchRangeTest, ADestroyedHandleCancels) {
  registry_->InjectFault({.kind = Fault::Kind::kHang});
  Results results;
  client().FetchRange(Wanted({0, 10}), results.Add()).reset();
  FLOE_EXPECT_ERROR(results.One(), ErrorCode::kCancelled, "");
}

TEST_F(FetchRangeTest, AHandleMayOutliveItsClient) {
  registry_->InjectFault({.kind = Fault::Kind::kHang});
  Results results;
  auto handle = client().FetchRange(Wanted({0, 10}), results.Add());
  client_.reset();
  FLOE_EXPECT_ERROR(results.One(), ErrorCode::kCancelled, "shutting down");
  handle->Cancel();
}

TEST_F(FetchRangeTest, AFetchStartedWhileTheClientEndsIsCancelledToo) {
  registry_->InjectFault({.kind = Fault::Kind::kHang, .times = Fault::kForever});
  Results results;
  std::unique_ptr<FetchHandle> second;
  RegistryClient& dying = client();
  auto first = dying.FetchRange(Wanted({0, 10}), [&](const Result<std::string>&) {
    second = dying.FetchRange(Wanted({0, 10}), results.Add());
  });
  client_.reset();
  FLOE_EXPECT_ERROR(results.One(), ErrorCode::kCancelled, "shutting down");
}

TEST_F(FetchRangeTest, ADeadRegistryIsUnavailable) {
  registry_->Stop();
  FLOE_EXPECT_ERROR(Fetch({0, 10}), ErrorCode::kUnavailable, "");
  FLOE_EXPECT_ERROR(Fetch({0, 10}, Deadline::After(seconds(0))), ErrorCode::kDeadlineExceeded, "");
}

TEST_F(FetchRangeTest, CountersCountRequestsAndBytes) {
  ExpectFetches({0, 1000});
  ExpectFetches({0, 500});
  EXPECT_EQ(client().counters().requests, 2U);
  EXPECT_EQ(client().counters().body_bytes, 1500U);
}

TEST_F(FetchRangeTest, ManyThreadsMayFetchAtOnce) {
  constexpr size_t kThreads = 8;
  constexpr size_t kFetches = 25;
  client();
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      for (size_t i = 0; i < kFetches; ++i) {
        ByteRange range{(t * kFetches + i) * 400, 400};
        Result<std::string> bytes = Fetch(range);
        ASSERT_TRUE(bytes.has_value()) << bytes.error().ToString();
        EXPECT_EQ(*bytes, Slice(range));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

}  // namespace
}  // namespace floe::fetcher
