#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/byte_range.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/fault_kind.h"
#include "base/file.h"
#include "base/log.h"
#include "base/result.h"
#include "tests/support/fake_clock.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe {
namespace {

using ::floe::testing::FakeClock;
using ::floe::testing::TempDir;

Result<int> Half(int value) {
  if (value % 2 != 0) {
    return InvalidArgument("{} is odd", value);
  }
  return value / 2;
}

Result<int> Quarter(int value) {
  FLOE_ASSIGN_OR_RETURN(int half, Half(value));
  FLOE_ASSIGN_OR_RETURN(int quarter, Half(half));
  return quarter;
}

TEST(ResultTest, MacrosPassValuesAndErrorsOn) {
  EXPECT_EQ(Quarter(8).value(), 2);
  FLOE_EXPECT_ERROR(Quarter(6), ErrorCode::kInvalidArgument, "3 is odd");
}

TEST(ErrorTest, ContextStandsBeforeTheMessage) {
  Error error = WithContext(NotFound("blob {}", "x"), "pull");
  EXPECT_EQ(error.ToString(), "NOT_FOUND: pull: blob x");
}

TEST(ErrorTest, EveryCodeHasItsOwnName) {
  std::set<std::string_view> names;
  for (int code = 1; code <= 16; ++code) {
    names.insert(ErrorCodeName(static_cast<ErrorCode>(code)));
  }
  EXPECT_EQ(names.size(), 16U);
}

TEST(FaultKindTest, EveryKindHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < kFaultKinds; ++i) {
    names.insert(FaultKindName(static_cast<FaultKind>(i)));
  }
  EXPECT_EQ(names.size(), kFaultKinds);
  EXPECT_EQ(FaultKindName(FaultKind::kRangeNotSatisfiable), "range_not_satisfiable");
}

TEST(FaultKindTest, OnlyAnswersThatClaimSuccessAreIntegrityFaults) {
  for (FaultKind kind : {FaultKind::kNone, FaultKind::kRangeNotSatisfiable, FaultKind::kShortBody,
                         FaultKind::kTimedOut, FaultKind::kOther}) {
    EXPECT_FALSE(IsIntegrityFault(kind)) << FaultKindName(kind);
  }
  for (FaultKind kind : {FaultKind::kRangeIgnored, FaultKind::kWrongContentRange,
                         FaultKind::kWrongSize, FaultKind::kWrongBytes}) {
    EXPECT_TRUE(IsIntegrityFault(kind)) << FaultKindName(kind);
  }
}

TEST(ErrorTest, ContextKeepsTheFault) {
  const Error error = WithFault(NotFound("gone"), FaultKind::kNotFound);
  EXPECT_EQ(WithContext(error, "where").fault, FaultKind::kNotFound);
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
}

TEST(ErrorTest, ErrnoChoosesTheCodeByMeaning) {
  EXPECT_EQ(ErrnoError(ENOENT, "x").code, ErrorCode::kNotFound);
  EXPECT_EQ(ErrnoError(ENOSPC, "x").code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(ErrnoError(EPERM, "x").code, ErrorCode::kPermissionDenied);
  EXPECT_EQ(ErrnoError(EIO, "x").code, ErrorCode::kInternal);
  EXPECT_EQ(ErrnoError(EIO, "x").os_errno, EIO);
}

TEST(DigestTest, OfKnownBytes) {
  // FIPS 180-2, appendix B.1.
  EXPECT_EQ(Digest::Of("abc").ToString(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(DigestTest, ParseRoundTripsAndRefusesOtherForms) {
  Digest digest = Digest::Of("abc");
  FLOE_ASSERT_OK_AND_ASSIGN(Digest parsed, Digest::Parse(digest.ToString()));
  EXPECT_EQ(parsed, digest);
  for (const std::string& bad :
       {std::string(), std::string("sha256:"), "sha512:" + digest.hex(), digest.hex(),
        "sha256:" + digest.hex().substr(1), "sha256:" + digest.hex() + "0",
        "sha256:" + std::string(64, 'A'), "sha256:" + std::string(64, 'g')}) {
    EXPECT_FALSE(Digest::Parse(bad).has_value()) << bad;
  }
}

TEST(DigestTest, WhatIsRefusedIsShownOnOneLine) {
  FLOE_EXPECT_ERROR(Digest::Parse("a\nb\xff"), ErrorCode::kInvalidArgument, "'a\\x0ab\\xff'");
  const std::string long_enough = Digest::Of("abc").ToString().substr(0, 70) + "\n";
  FLOE_EXPECT_ERROR(Digest::Parse(long_enough), ErrorCode::kInvalidArgument, "\\x0a'");
}

TEST(DigestTest, HasherStartsAnewAfterFinish) {
  Sha256Hasher hasher;
  hasher.Update("a");
  hasher.Update("bc");
  EXPECT_EQ(hasher.Finish(), Digest::Of("abc"));
  EXPECT_EQ(hasher.Finish(), Digest::Of(""));
}

TEST(ByteRangeTest, ContainsOverlapsAndOverflow) {
  ByteRange range{10, 10};
  EXPECT_TRUE(range.Contains({10, 10}));
  EXPECT_FALSE(range.Contains({10, 11}));
  EXPECT_TRUE(range.Overlaps({19, 5}));
  EXPECT_FALSE(range.Overlaps({20, 5}));
  EXPECT_TRUE((ByteRange{UINT64_MAX, 0}).IsValid());
  EXPECT_FALSE((ByteRange{UINT64_MAX, 1}).IsValid());
  EXPECT_EQ(AlignUp(4097, kBlockBytes), 8192U);
  EXPECT_EQ(AlignDown(4097, kBlockBytes), 4096U);
}

TEST(DeadlineTest, ExpiresWithItsClock) {
  FakeClock clock;
  Deadline deadline = Deadline::After(std::chrono::seconds(5), clock);
  EXPECT_FALSE(deadline.Expired(clock));
  clock.Advance(std::chrono::seconds(4));
  EXPECT_EQ(deadline.Remaining(clock), std::chrono::seconds(1));
  clock.Advance(std::chrono::seconds(2));
  EXPECT_TRUE(deadline.Expired(clock));
  EXPECT_EQ(deadline.Remaining(clock), Clock::Duration::zero());
  EXPECT_FALSE(Deadline::Infinite().Expired(clock));
}

TEST(FileTest, AtomicWriteReplacesAndLeavesNothingBehind) {
  TempDir dir;
  FLOE_ASSERT_OK(WriteFileAtomically(dir / "f", "one"));
  FLOE_ASSERT_OK(WriteFileAtomically(dir / "f", "two", 0644));
  FLOE_ASSERT_OK_AND_ASSIGN(std::string bytes, ReadFile(dir / "f"));
  EXPECT_EQ(bytes, "two");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()),
                          std::filesystem::directory_iterator()),
            1);
}

TEST(FileTest, AtomicWriteIntoAMissingDirectoryNamesIt) {
  TempDir dir;
  FLOE_EXPECT_ERROR(WriteFileAtomically(dir / "no/f", "x"), ErrorCode::kNotFound, "no/f");
}

TEST(FileTest, ReadFileRefusesMoreThanItsLimit) {
  TempDir dir;
  FLOE_ASSERT_OK(WriteFileAtomically(dir / "f", std::string(100, 'x')));
  FLOE_EXPECT_ERROR(ReadFile(dir / "f", 99), ErrorCode::kResourceExhausted, "larger than 99");
}

TEST(FileTest, PreadPastTheEndIsOutOfRange) {
  TempDir dir;
  FLOE_ASSERT_OK(WriteFileAtomically(dir / "f", "abc"));
  FLOE_ASSERT_OK_AND_ASSIGN(UniqueFd fd, OpenFile(dir / "f", O_RDONLY));
  std::array<std::byte, 4> buffer{};
  FLOE_EXPECT_ERROR(PreadAll(fd.get(), buffer, 0), ErrorCode::kOutOfRange, "offset 3");
}

TEST(FileTest, DirectoriesAreMadeAndRemovedWithAllTheyHold) {
  TempDir dir;
  FLOE_ASSERT_OK(CreateDirectories(dir / "a/b/c"));
  FLOE_ASSERT_OK(CreateDirectories(dir / "a/b/c"));
  FLOE_ASSERT_OK(WriteFileAtomically(dir / "a/b/f", "x"));
  FLOE_EXPECT_ERROR(CreateDirectories(dir / "a/b/f"), ErrorCode::kAlreadyExists, "a/b/f");
  FLOE_ASSERT_OK(RemoveTree(dir / "a"));
  EXPECT_FALSE(std::filesystem::exists(dir / "a"));
  FLOE_ASSERT_OK(RemoveTree(dir / "a"));
}

TEST(FileTest, ListsADirectory) {
  testing::TempDir directory;
  FLOE_ASSERT_OK(CreateDirectories(directory / "a"));
  FLOE_ASSERT_OK(WriteFileAtomically(directory / ".b", ""));
  FLOE_ASSERT_OK_AND_ASSIGN(auto names, ListDirectory(directory.path()));
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{".b", "a"}));
  FLOE_EXPECT_ERROR(ListDirectory(directory / "none"), ErrorCode::kNotFound, "none");
}

TEST(LogTest, LevelsHaveNames) {
  EXPECT_EQ(ParseLogLevel("warning").value(), LogLevel::kWarning);
  FLOE_EXPECT_ERROR(ParseLogLevel("loud"), ErrorCode::kInvalidArgument, "'loud'");
}

}  // namespace
}  // namespace floe
