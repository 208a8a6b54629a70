#include "cachemgr/cache/fault_log.h"

#include <algorithm>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fake_clock.h"

namespace floe::cachemgr {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class FaultLogTest : public ::testing::Test {
 protected:
  void Report(const Error& error, bool retried = false) {
    log_.Report({.error = error,
                 .registry = "registry:5000",
                 .digest = digest_,
                 .range = {.offset = 4096, .length = 512},
                 .attempt = 3,
                 .retried = retried});
  }
  /// What was written to standard error meanwhile.
  std::string Said(const std::function<void()>& action) {
    ::testing::internal::CaptureStderr();
    action();
    return ::testing::internal::GetCapturedStderr();
  }
  static ptrdiff_t Lines(const std::string& text) {
    return std::count(text.begin(), text.end(), '\n');
  }

  const Digest digest_ = Digest::Of("blob");
  floe::testing::FakeClock clock_;
  Counters counters_;
  FaultLog log_{counters_, clock_};
};

TEST_F(FaultLogTest, OneLineSaysWhatWhereAndWhichBytes) {
  const std::string said = Said([this] {
    Report(WithFault(Unavailable("GET http://h/v2/x: status 503"), FaultKind::kServerError), true);
  });
  EXPECT_EQ(Lines(said), 1);
  EXPECT_THAT(
      said, AllOf(HasSubstr("kind=server_error registry=registry:5000 digest=" +
                            digest_.ToString() + " offset=4096 length=512 attempt=3 retried=true"),
                  HasSubstr("reason=\"GET http://h/v2/x: status 503\""), HasSubstr("warning")));
}

TEST_F(FaultLogTest, IntegrityFaultsAreErrorsAndCountedApart) {
  const std::string said =
      Said([this] { Report(WithFault(DataLoss("no match"), FaultKind::kWrongBytes)); });
  EXPECT_THAT(said, AllOf(HasSubstr("kind=wrong_bytes"), HasSubstr("error")));
  EXPECT_EQ(counters_.integrity_errors, 1U);
  EXPECT_EQ(counters_.faults.at(static_cast<size_t>(FaultKind::kWrongBytes)).all, 1U);
}

TEST_F(FaultLogTest, AStormOfOneKindIsCutShortAndHidesNoOther) {
  const std::string said = Said([this] {
    for (int i = 0; i < 1000; ++i) {
      Report(WithFault(Unavailable("reset"), FaultKind::kConnection), true);
    }
    Report(WithFault(NotFound("gone"), FaultKind::kNotFound));
  });
  EXPECT_LE(Lines(said), 50);
  EXPECT_THAT(said, HasSubstr("kind=not_found"));
  EXPECT_EQ(counters_.faults.at(static_cast<size_t>(FaultKind::kConnection)).all, 1000U);
  EXPECT_EQ(counters_.faults.at(static_cast<size_t>(FaultKind::kConnection)).retried, 1000U);

  clock_.Advance(std::chrono::minutes(1));
  EXPECT_EQ(
      Lines(Said([this] { Report(WithFault(Unavailable("reset"), FaultKind::kConnection)); })), 1);
}

TEST_F(FaultLogTest, WhatWasCancelledIsNoFault) {
  EXPECT_EQ(Said([this] { Report(Cancelled("stopping")); }), "");
  for (const FaultCount& count : counters_.faults) {
    EXPECT_EQ(count.all, 0U);
  }
}

}  // namespace
}  // namespace floe::cachemgr
