// Which fault each failure is called, what is asked for again because of it, and who is told.
#include "base/file.h"
#include "tests/fetcher/client_fixture.h"

namespace floe::fetcher {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::SizeIs;

class FaultTest : public ClientTest {
 protected:
  FaultTest() { options_.stall_timeout = seconds(30); }

  /// The result; `retried_` are the faults before it.
  Result<std::string> FetchWatched(RangeRequest request) {
    auto retried = std::make_shared<std::vector<FaultKind>>();
    request.on_retry = [retried](const Error& error) { retried->push_back(error.fault); };
    Result<std::string> result = client().FetchRangeSync(std::move(request));
    retried_ = *retried;
    return result;
  }
  Result<std::string> FetchWatched() { return FetchWatched(Wanted({10, 1000})); }
  void ExpectFault(const Result<std::string>& result, FaultKind fault) {
    ASSERT_FALSE(result.has_value()) << "expected " << FaultKindName(fault);
    EXPECT_EQ(FaultKindName(result.error().fault), FaultKindName(fault))
        << result.error().ToString();
  }
  void ExpectRight(const Result<std::string>& result) {
    ASSERT_TRUE(result.has_value()) << result.error().ToString();
    EXPECT_EQ(*result, Slice({10, 1000}));
  }

  std::vector<FaultKind> retried_;
};

TEST_F(FaultTest, WhatIsTriedAgainIsToldByItsKind) {
  const std::pair<Fault, FaultKind> rows[] = {
      {{.status = 500}, FaultKind::kServerError},
      {{.status = 503, .headers = {{"Retry-After", "0"}}}, FaultKind::kServerError},
      {{.status = 429, .headers = {{"Retry-After", "0"}}}, FaultKind::kTooManyRequests},
      {{.kind = Fault::Kind::kClose}, FaultKind::kConnection},
      {{.kind = Fault::Kind::kReset, .bytes = 3}, FaultKind::kConnection},
      {{.kind = Fault::Kind::kShortBody, .bytes = 3}, FaultKind::kShortBody},
  };
  for (const auto& [fault, kind] : rows) {
    // A connection of its own: libcurl itself repeats what a kept connection lost.
    client_.reset();
    registry_->InjectFault(fault);
    ExpectRight(FetchWatched());
    EXPECT_THAT(retried_, ElementsAre(kind)) << FaultKindName(kind);
  }
}

TEST_F(FaultTest, WhatIsFinalIsTheResultAndNotTold) {
  const std::pair<Fault, FaultKind> rows[] = {
      {{.status = 400}, FaultKind::kOther},
      {{.status = 403}, FaultKind::kForbidden},
      {{.status = 404}, FaultKind::kNotFound},
      {{.status = 416}, FaultKind::kRangeNotSatisfiable},
      {{.status = 302, .headers = {{"Location", "ftp://nowhere"}}}, FaultKind::kNone},
      {{.kind = Fault::Kind::kIgnoreRange}, FaultKind::kRangeIgnored},
      {{.kind = Fault::Kind::kWrongContentRange}, FaultKind::kWrongContentRange},
      {{.kind = Fault::Kind::kWrongLength, .bytes = 5}, FaultKind::kWrongSize},
  };
  for (const auto& [fault, kind] : rows) {
    registry_->InjectFault(fault);
    ExpectFault(FetchWatched(), kind);
    EXPECT_THAT(retried_, SizeIs(0)) << FaultKindName(kind);
    ExpectRight(FetchWatched());
  }
}

TEST_F(FaultTest, ABlobOfAnotherSizeIsAWrongSize) {
  RangeRequest request = Wanted({10, 1000});
  request.blob_bytes = blob_.size() + 1;
  ExpectFault(FetchWatched(request), FaultKind::kWrongSize);
  request.blob_bytes = blob_.size();
  ExpectRight(FetchWatched(request));
}

TEST_F(FaultTest, SilenceIsStalledAndThenTimedOut) {
  options_.stall_timeout = milliseconds(100);
  registry_->InjectFault({.kind = Fault::Kind::kHang});
  ExpectRight(FetchWatched());
  EXPECT_THAT(retried_, ElementsAre(FaultKind::kStalled));

  options_.stall_timeout = seconds(30);
  client_.reset();
  registry_->InjectFault({.kind = Fault::Kind::kHang});
  ExpectFault(FetchWatched(Wanted({10, 1000}, Deadline::After(milliseconds(50)))),
              FaultKind::kTimedOut);
}

TEST_F(FaultTest, AByteNowAndThenIsStalled) {
  options_.stall_timeout = milliseconds(100);
  registry_->InjectFault({.kind = Fault::Kind::kSlow, .bytes = 1, .interval = milliseconds(10)});
  ExpectRight(FetchWatched());
  EXPECT_THAT(retried_, ElementsAre(FaultKind::kStalled));
}

TEST_F(FaultTest, TheFirstQuestionForCredentialsIsNoFaultAndARefusedTokenIs) {
  registry_->RequireBearer({});
  ExpectRight(FetchWatched());
  EXPECT_THAT(retried_, SizeIs(0));
  registry_->RevokeTokens();
  ExpectRight(FetchWatched());
  EXPECT_THAT(retried_, ElementsAre(FaultKind::kUnauthenticated));
}

TEST_F(FaultTest, WithoutCredentialsItIsUnauthenticated) {
  registry_->RequireBasic("user", "password");
  ExpectFault(FetchWatched(), FaultKind::kUnauthenticated);
}

TEST_F(FaultTest, ARefusingTargetIsAFaultOfTheRedirect) {
  registry_->RedirectBlobsTo(storage_.get());
  ExpectRight(FetchWatched());
  storage_->ExpireSignatures();
  ExpectRight(FetchWatched());
  EXPECT_THAT(retried_, ElementsAre(FaultKind::kRedirectRefused));
  storage_->InjectFault({.times = Fault::kForever, .status = 403});
  ExpectFault(FetchWatched(), FaultKind::kRedirectRefused);
  EXPECT_THAT(retried_, ElementsAre(FaultKind::kRedirectRefused));
}

TEST_F(FaultTest, UntilTheDeadlineThereAreMoreAttempts) {
  options_.max_attempts = 2;
  registry_->InjectFault({.times = 7, .status = 503});
  RangeRequest request = Wanted({10, 1000});
  request.until_deadline = true;
  ExpectRight(FetchWatched(request));
  EXPECT_THAT(retried_, AllOf(SizeIs(7), Each(FaultKind::kServerError)));
}

TEST_F(FaultTest, WithoutTimeForAnotherAttemptTheDeadlineIsTheReasonAndTheFaultStays) {
  registry_->InjectFault({.status = 503, .headers = {{"Retry-After", "30"}}});
  RangeRequest request = Wanted({10, 1000}, Deadline::After(seconds(20)));
  request.until_deadline = true;
  Result<std::string> result = FetchWatched(request);
  ExpectFault(result, FaultKind::kServerError);
  FLOE_EXPECT_ERROR(result, ErrorCode::kDeadlineExceeded, "status 503");
  EXPECT_THAT(retried_, SizeIs(0));
}

TEST_F(FaultTest, NoFaultTellsASecret) {
  FLOE_ASSERT_OK(WriteFileAtomically(
      config_dir_ / "config.json",
      fmt::format(R"({{"auths":{{"{}":{{"username":"us3r","password":"s3cret"}}}}}})",
                  registry_->host())));
  registry_->RequireBearer({.user = "us3r", .password = "s3cret"});
  registry_->RedirectBlobsTo(storage_.get());
  storage_->InjectFault(
      {.times = 2,
       .status = 403,
       .body = R"({"errors":[{"message":"bad http://h/x?sig=s3cret for Bearer s3cret"}]})"});
  std::string told;
  RangeRequest request = Wanted({10, 1000});
  request.on_retry = [&told](const Error& error) { told += error.ToString(); };
  Result<std::string> result = client().FetchRangeSync(request);
  ASSERT_FALSE(result.has_value());
  told += result.error().ToString();
  EXPECT_THAT(told, ::testing::HasSubstr("status 403"));
  for (const char* secret : {"s3cret", "us3r", "secret"}) {
    EXPECT_EQ(told.find(secret), std::string::npos) << told;
  }
}

}  // namespace
}  // namespace floe::fetcher
