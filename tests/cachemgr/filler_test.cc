#include "cachemgr/cache/filler.h"

#include <atomic>
#include <cerrno>
#include <random>
#include <thread>

#include "tests/cachemgr/fill_fixture.h"
#include "tests/cachemgr/gzip_blob.h"

namespace floe::cachemgr::testing {
namespace {

using ::testing::HasSubstr;

class FillerTest : public FillTest {
 protected:
  struct Counted {
    uint64_t all = 0, retried = 0;
    bool operator==(const Counted&) const = default;
  };
  [[nodiscard]] Counted Count(FaultKind kind) const {
    const FaultCount& count = counters_.faults.at(static_cast<size_t>(kind));
    return {.all = count.all, .retried = count.retried};
  }
};

// Blob: 512 + 10000 | 512 + 4096 | 512 + 1 | 512 + 30000; units of 8192, groups of 4096.
TestBlob SmallBlob() { return TestBlob::Make({}); }

TEST_F(FillerTest, AbsentBytesAreFetchedOnceAndThenHit) {
  Start(SmallBlob());
  const ByteRange range{.offset = 0, .length = 4096};
  FLOE_EXPECT_OK(Read(range)->Get());
  EXPECT_EQ(CacheBytes(range), test_blob_.Bytes(range));
  EXPECT_EQ(counters_.reads_filled, 1U);
  const size_t requests = client_->requests().size();

  FLOE_EXPECT_OK(Read(range)->Get());
  EXPECT_EQ(counters_.reads_hit, 1U);
  EXPECT_EQ(client_->requests().size(), requests);
  EXPECT_EQ(counters_.reads_inflight, 0U);
}

TEST_F(FillerTest, EveryReadOfTheDeviceIsRight) {
  Start(TestBlob::Make({.file_bytes = {1, 4095, 4096, 4097, 70000, 3, 12288, 100000},
                        .unit_bytes = 12288,
                        .group_bytes = 3072,
                        .seed = 7}));
  for (uint64_t at = 0; at < test_blob_.device.size(); at += 4096) {
    const ByteRange range{.offset = at, .length = 4096};
    FLOE_ASSERT_OK(Read(range)->Get());
    ASSERT_EQ(CacheBytes(range), test_blob_.Bytes(range)) << at;
  }
  EXPECT_TRUE(blob_->cache().AllPresent());
  EXPECT_EQ(blob_->cache().present_bytes(), test_blob_.device.size());
}

TEST_F(FillerTest, ManyReadersOfOneUnitCauseOneFetch) {
  Start(SmallBlob());
  client_->Hold();
  std::vector<std::shared_ptr<Outcome>> readers;
  for (int i = 0; i < 20; ++i) {
    readers.push_back(Read({.offset = 0, .length = 4096}));
  }
  client_->WaitForRequests(1);
  EXPECT_EQ(counters_.reads_inflight, 20U);
  client_->Release();
  for (const auto& reader : readers) {
    FLOE_EXPECT_OK(reader->Get());
  }
  filler_->Stop();
  EXPECT_EQ(client_->requests().size(), 1U);
  EXPECT_EQ(counters_.reads_filled, 1U);
  EXPECT_EQ(counters_.reads_joined, 19U);
  for (const auto& reader : readers) {
    EXPECT_EQ(reader->answers(), 1);
  }
}

TEST_F(FillerTest, EveryWaiterOfAFailedFetchFailsOnceAndTheNextDemandStartsAnew) {
  Start(SmallBlob());
  client_->Hold();
  client_->SetScript([](const auto&) { return Unavailable("the registry is away"); });
  // One unit: with two, the next demand might still join the other one's failing flight.
  const ByteRange range{.offset = 0, .length = 1};
  const auto first = Read(range);
  const auto second = Read(range);
  client_->Release();
  FLOE_EXPECT_ERROR(first->Get(), ErrorCode::kUnavailable, "the registry is away");
  FLOE_EXPECT_ERROR(second->Get(), ErrorCode::kUnavailable, "the registry is away");
  EXPECT_EQ(counters_.reads_failed, 2U);

  client_->SetScript(nullptr);
  FLOE_EXPECT_OK(Read(range)->Get());
  EXPECT_EQ(CacheBytes(range), test_blob_.Bytes(range));
  filler_->Stop();
  EXPECT_EQ(first->answers(), 1);
  EXPECT_EQ(second->answers(), 1);
}

TEST_F(FillerTest, BytesThatDoNotMatchAreFetchedOnceMoreAndNeverWritten) {
  Start(SmallBlob());
  client_->SetScript([this](const FakeRegistryClient::Request& request) {
    std::string bytes = test_blob_.blob.substr(request.range.offset, request.range.length);
    for (char& byte : bytes) {
      byte = static_cast<char>(byte ^ 1);
    }
    return Result<std::string>(bytes);
  });
  const ByteRange range{.offset = 0, .length = 4096};
  FLOE_EXPECT_ERROR(Read(range)->Get(), ErrorCode::kDataLoss, "its sha256 is");
  EXPECT_EQ(client_->requests().size(), 2U);
  EXPECT_EQ(counters_.integrity_errors, 2U);
  EXPECT_EQ(CacheBytes(test_blob_.WholeDevice()), std::string(test_blob_.device.size(), '\0'));
  EXPECT_FALSE(blob_->cache().IsPresent(range));

  client_->SetScript(nullptr);
  FLOE_EXPECT_OK(Read(range)->Get());
}

TEST_F(FillerTest, BytesThatDoNotMatchAreTakenFromTheNextSource) {
  Start(SmallBlob(), NoReadAhead(), /*sources=*/2);
  client_->SetScript(
      [](const FakeRegistryClient::Request& request) -> std::optional<Result<std::string>> {
        if (request.repository == "r0/app") {
          return Result<std::string>(std::string(request.range.length, 'x'));
        }
        return std::nullopt;
      });
  const ByteRange range{.offset = 0, .length = 4096};
  FLOE_EXPECT_OK(Read(range)->Get());
  EXPECT_EQ(CacheBytes(range), test_blob_.Bytes(range));
  EXPECT_EQ(counters_.integrity_errors, 1U);
}

TEST_F(FillerTest, ShortAnswersAreDataLoss) {
  Start(SmallBlob());
  client_->SetScript([](const auto&) { return Result<std::string>(std::string("short")); });
  FLOE_EXPECT_ERROR(Read({.offset = 0, .length = 4096})->Get(), ErrorCode::kDataLoss,
                    "5 bytes came");
}

TEST_F(FillerTest, AnUnreachableSourceFailsOverToTheNext) {
  Start(SmallBlob(), NoReadAhead(), /*sources=*/3);
  client_->SetScript(
      [](const FakeRegistryClient::Request& request) -> std::optional<Result<std::string>> {
        if (request.repository != "r2/app") {
          return Result<std::string>(NotFound("not here"));
        }
        return std::nullopt;
      });
  FLOE_EXPECT_OK(Read({.offset = 0, .length = 4096})->Get());
  EXPECT_EQ(client_->requests().size(), 3U);
  EXPECT_EQ(counters_.integrity_errors, 0U);
}

TEST_F(FillerTest, AGoodGroupIsServedThoughAnotherOfItsUnitIsBad) {
  Start(SmallBlob());
  client_->SetScript([this](const FakeRegistryClient::Request& request) {
    std::string blob = test_blob_.blob;
    blob[8191] = static_cast<char>(blob[8191] ^ 1);  // In group 1, the last one of unit 0.
    return Result<std::string>(blob.substr(request.range.offset, request.range.length));
  });
  FLOE_EXPECT_OK(Read({.offset = 0, .length = 512})->Get());
  FLOE_EXPECT_ERROR(Read({.offset = 4096, .length = 512})->Get(), ErrorCode::kDataLoss, "group 1");
}

TEST_F(FillerTest, EveryFaultIsCountedByItsKindWithTheRetriesBeforeIt) {
  Start(SmallBlob());
  client_->SetScript(
      [](const FakeRegistryClient::Request& request) -> std::optional<Result<std::string>> {
        request.on_retry(WithFault(Unavailable("503"), FaultKind::kServerError));
        request.on_retry(WithFault(Unavailable("reset"), FaultKind::kConnection));
        request.on_retry(WithFault(Unavailable("503"), FaultKind::kServerError));
        return std::nullopt;
      });
  FLOE_EXPECT_OK(Read({.offset = 0, .length = 1})->Get());
  EXPECT_EQ(Count(FaultKind::kServerError), (Counted{.all = 2, .retried = 2}));
  EXPECT_EQ(Count(FaultKind::kConnection), (Counted{.all = 1, .retried = 1}));
  EXPECT_EQ(counters_.integrity_errors, 0U);
  EXPECT_EQ(counters_.reads_failed, 0U);
}

TEST_F(FillerTest, ARefusalIsAskedForOnceMoreAndCountedEachTime) {
  Start(SmallBlob());
  client_->SetScript([](const auto&) { return WithFault(NotFound("404"), FaultKind::kNotFound); });
  FLOE_EXPECT_ERROR(Read({.offset = 0, .length = 1})->Get(), ErrorCode::kNotFound, "404");
  EXPECT_EQ(client_->requests().size(), 2U);
  EXPECT_EQ(Count(FaultKind::kNotFound), (Counted{.all = 2, .retried = 1}));
  EXPECT_EQ(counters_.integrity_errors, 0U);
}

TEST_F(FillerTest, CredentialsThatAreRefusedAreNotShownAgain) {
  Start(SmallBlob());
  client_->SetScript(
      [](const auto&) { return WithFault(Unauthenticated("401"), FaultKind::kUnauthenticated); });
  FLOE_EXPECT_ERROR(Read({.offset = 0, .length = 1})->Get(), ErrorCode::kUnauthenticated, "401");
  EXPECT_EQ(client_->requests().size(), 1U);
}

TEST_F(FillerTest, OneRefusalIsNotTheTruthYet) {
  Start(SmallBlob());
  client_->SetScript([refused = std::make_shared<std::atomic<bool>>(false)](
                         const FakeRegistryClient::Request&) -> std::optional<Result<std::string>> {
    if (refused->exchange(true)) {
      return std::nullopt;
    }
    return WithFault(OutOfRange("416"), FaultKind::kRangeNotSatisfiable);
  });
  FLOE_EXPECT_OK(Read({.offset = 0, .length = 1})->Get());
  EXPECT_EQ(Count(FaultKind::kRangeNotSatisfiable), (Counted{.all = 1, .retried = 1}));
}

TEST_F(FillerTest, OnlyTheLastSourceIsAskedUntilTheDeadline) {
  Start(SmallBlob(), NoReadAhead(), /*sources=*/2);
  client_->SetScript(
      [](const auto&) { return WithFault(Unavailable("503"), FaultKind::kServerError); });
  FLOE_EXPECT_ERROR(Read({.offset = 0, .length = 1})->Get(), ErrorCode::kUnavailable, "503");
  const auto requests = client_->requests();
  ASSERT_EQ(requests.size(), 2U);
  EXPECT_FALSE(requests[0].until_deadline);
  EXPECT_TRUE(requests[1].until_deadline);
  EXPECT_EQ(requests[0].blob_bytes, test_blob_.blob.size());
  EXPECT_EQ(Count(FaultKind::kServerError), (Counted{.all = 2, .retried = 1}));
}

TEST_F(FillerTest, BytesThatDoNotMatchAndWrongAnswersAreIntegrityFaults) {
  Start(SmallBlob());
  client_->SetScript(
      [asked = std::make_shared<std::atomic<int>>(0)](
          const FakeRegistryClient::Request& request) -> std::optional<Result<std::string>> {
        if ((*asked)++ == 0) {
          return WithFault(DataLoss("status 200"), FaultKind::kRangeIgnored);
        }
        return Result<std::string>(std::string(request.range.length, 'x'));
      });
  FLOE_EXPECT_ERROR(Read({.offset = 0, .length = 1})->Get(), ErrorCode::kDataLoss, "its sha256 is");
  EXPECT_EQ(Count(FaultKind::kRangeIgnored), (Counted{.all = 1, .retried = 1}));
  EXPECT_EQ(Count(FaultKind::kWrongBytes), (Counted{.all = 1, .retried = 0}));
  EXPECT_EQ(counters_.integrity_errors, 2U);
}

TEST_F(FillerTest, WhatNobodyCouldNameIsCountedAsOtherAndCancellationIsNot) {
  Start(SmallBlob());
  client_->SetScript([](const auto&) { return FailedPrecondition("no authorities"); });
  FLOE_EXPECT_ERROR(Read({.offset = 0, .length = 1})->Get(), ErrorCode::kFailedPrecondition, "");
  EXPECT_EQ(Count(FaultKind::kOther), (Counted{.all = 2, .retried = 1}));
  client_->SetScript(nullptr);
  client_->Hold();
  const auto reader = Read({.offset = 0, .length = 1});
  filler_->Stop();
  FLOE_EXPECT_ERROR(reader->Get(), ErrorCode::kCancelled, "");
  EXPECT_EQ(Count(FaultKind::kOther), (Counted{.all = 2, .retried = 1}));
}

TEST_F(FillerTest, ALateAnswerFailsTheRequestAndStillFillsTheCache) {
  Start(SmallBlob());
  client_->Hold();
  const ByteRange range{.offset = 0, .length = 4096};
  const auto reader = Read(range);
  client_->WaitForRequests(1);
  clock_.Advance(std::chrono::seconds(59));
  filler_->ExpireDue();
  EXPECT_EQ(reader->answers(), 0);
  clock_.Advance(std::chrono::seconds(2));
  filler_->ExpireDue();
  FLOE_EXPECT_ERROR(reader->Get(), ErrorCode::kDeadlineExceeded, "not there in time");
  EXPECT_EQ(counters_.reads_failed, 1U);

  const auto joined = Read(range);
  client_->Release();
  FLOE_EXPECT_OK(joined->Get());
  filler_->Stop();
  EXPECT_EQ(reader->answers(), 1);
}

TEST_F(FillerTest, StopCancelsFetchesAndAnswersEveryWaiter) {
  Start(SmallBlob());
  client_->Hold();
  const auto first = Read({.offset = 0, .length = 4096});
  const auto second = Read(File(3));
  filler_->Stop();
  FLOE_EXPECT_ERROR(first->Get(), ErrorCode::kCancelled, "");
  FLOE_EXPECT_ERROR(second->Get(), ErrorCode::kCancelled, "");
  FLOE_EXPECT_ERROR(Read({.offset = 4096, .length = 1})->Get(), ErrorCode::kCancelled, "stopping");
  EXPECT_EQ(counters_.reads_inflight, 0U);
}

TEST_F(FillerTest, NeighbouringUnitsShareOneRequest) {
  Start(SmallBlob());
  FLOE_EXPECT_OK(Read(File(3))->Get());
  const auto requests = client_->requests();
  ASSERT_EQ(requests.size(), 1U);
  EXPECT_EQ(requests[0].range,
            (ByteRange{.offset = 8192, .length = test_blob_.blob.size() - 8192}));
  EXPECT_EQ(CacheBytes(File(3)), test_blob_.Bytes(File(3)));
}

TEST_F(FillerTest, WhatIsPresentIsNotFetchedAgainBetweenAbsentUnits) {
  FillOptions options = NoReadAhead();
  options.merge.gap_bytes = 0;
  Start(TestBlob::Make({.file_bytes = {40000}}), options);
  FLOE_EXPECT_OK(Read({.offset = 16384, .length = 4096})->Get());
  FLOE_EXPECT_OK(Read(File(0))->Get());
  uint64_t fetched = 0;
  for (const auto& request : client_->requests()) {
    fetched += request.range.length;
  }
  EXPECT_EQ(fetched, test_blob_.blob.size());
  EXPECT_EQ(client_->requests().size(), 3U);
  EXPECT_EQ(blob_->fetched_bytes(), test_blob_.blob.size());
}

TEST_F(FillerTest, BytesThatNoExtentCoversAreZeroAndNeedNoFetch) {
  Start(SmallBlob());
  const ByteRange padding{.offset = File(2).offset + 1, .length = 4095};
  FLOE_EXPECT_OK(Read(padding)->Get());
  EXPECT_EQ(CacheBytes(padding), std::string(4095, '\0'));
  EXPECT_TRUE(client_->requests().empty());
}

TEST_F(FillerTest, ABlockOfTwoGroupsWaitsForBoth) {
  Start(SmallBlob());
  // Device block 0 is blob bytes 512..4608: groups 0 and 1, both of unit 0; block 1 is 4608..8704:
  // groups 1 (unit 0) and 2 (unit 1).
  FLOE_EXPECT_OK(Read({.offset = 0, .length = 4096})->Get());
  EXPECT_FALSE(blob_->cache().IsPresent({.offset = 4096, .length = 4096}));
  EXPECT_TRUE(blob_->cache().IsPresent({.offset = 4096, .length = 3584}));
  FLOE_EXPECT_OK(Read({.offset = 4096, .length = 4096})->Get());
  EXPECT_EQ(CacheBytes({.offset = 0, .length = 8192}),
            test_blob_.Bytes({.offset = 0, .length = 8192}));
}

TEST_F(FillerTest, ABlobWithoutSourcesFailsWithAReason) {
  Start(SmallBlob(), NoReadAhead(), /*sources=*/1);
  const TestBlob other = TestBlob::Make({.seed = 99});
  auto opened =
      Blob::Open(other.Store(directory_.path()), other.key, "boot-1", *filler_, counters_);
  FLOE_ASSERT_OK(opened);
  auto outcome = std::make_shared<Outcome>();
  (*opened)->Demand({.offset = 0, .length = 1}, std::make_unique<FakeReply>(outcome));
  FLOE_EXPECT_ERROR(outcome->Get(), ErrorCode::kFailedPrecondition, "no source");
}

// A cache file of a channel that can be told to fail.
class FakeCacheFile final : public CacheFile {
 public:
  explicit FakeCacheFile(uint64_t size) : bytes_(size, '\0') {}
  [[nodiscard]] WriteRules rules() const override { return {}; }
  Result<void> Write(std::span<const std::byte> bytes, uint64_t offset) override {
    if (full_) {
      return ErrnoError(ENOSPC, "pwrite");
    }
    std::ranges::copy(
        bytes, std::as_writable_bytes(std::span(bytes_)).begin() + static_cast<ptrdiff_t>(offset));
    return Ok();
  }
  Result<void> Sync() override { return Ok(); }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }
  void SetFull(bool full) { full_ = full; }

 private:
  std::string bytes_;
  std::atomic<bool> full_ = false;
};

TEST_F(FillerTest, AFullDiskFailsTheRequestAndLeavesNothingPresent) {
  Start(SmallBlob());
  auto file = std::make_shared<FakeCacheFile>(test_blob_.device.size());
  blob_->UseCacheFile(file, {});
  file->SetFull(true);
  const ByteRange range{.offset = 0, .length = 4096};
  const Result<void> failed = Read(range)->Get();
  FLOE_EXPECT_ERROR(failed, ErrorCode::kResourceExhausted, "");
  EXPECT_EQ(failed.error().os_errno, ENOSPC);
  EXPECT_FALSE(blob_->cache().IsPresent(range));
  EXPECT_EQ(client_->requests().size(), 1U);

  file->SetFull(false);
  FLOE_EXPECT_OK(Read(range)->Get());
  EXPECT_EQ(file->bytes().substr(0, 4096), test_blob_.Bytes(range));
}

TEST_F(FillerTest, AFullDiskIsNoFailureWhereRoomCanBeMade) {
  std::shared_ptr<FakeCacheFile> file;
  std::atomic<int> asked = 0;
  make_room_ = [&] {
    file->SetFull(false);
    ++asked;
    return true;
  };
  Start(SmallBlob());
  file = std::make_shared<FakeCacheFile>(test_blob_.device.size());
  blob_->UseCacheFile(file, {});
  file->SetFull(true);
  const ByteRange range{.offset = 0, .length = 4096};
  FLOE_EXPECT_OK(Read(range)->Get());
  EXPECT_EQ(file->bytes().substr(0, 4096), test_blob_.Bytes(range));
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(client_->requests().size(), 1U);
  filler_->Stop();
}

TEST_F(FillerTest, AChannelsOwnCacheFileStartsWithWhatItHolds) {
  Start(SmallBlob());
  FLOE_EXPECT_OK(Read(test_blob_.WholeDevice())->Get());
  EXPECT_TRUE(blob_->cache().AllPresent());
  auto file = std::make_shared<FakeCacheFile>(test_blob_.device.size());
  blob_->UseCacheFile(file, {File(0)});
  EXPECT_TRUE(blob_->cache().IsPresent({.offset = 0, .length = 4096}));
  EXPECT_FALSE(blob_->cache().IsPresent(File(3)));
  FLOE_EXPECT_OK(Read(File(3))->Get());
  EXPECT_EQ(file->bytes().substr(File(3).offset, File(3).length), test_blob_.Bytes(File(3)));
  FLOE_EXPECT_OK(blob_->cache().Checkpoint());
  EXPECT_FALSE(blob_->cache().complete());
}

TEST_F(FillerTest, SequentialDemandsFetchTheNextUnitsAhead) {
  Start(TestBlob::Make({.file_bytes = {200000}}), FillOptions());
  FLOE_EXPECT_OK(Read({.offset = 0, .length = 1024})->Get());  // Unit 0.
  EXPECT_EQ(client_->requests().size(), 1U);
  client_->Hold();
  const auto first = Read({.offset = 8192, .length = 1024});  // Unit 1, ahead: 2.
  client_->WaitForRequests(3);
  // A demand for a unit that is on its way joins, and fetches further ahead: 3 and 4.
  const auto second = Read({.offset = 16384, .length = 1024});
  client_->WaitForRequests(4);
  const auto requests = client_->requests();
  EXPECT_EQ(requests[2].range, (ByteRange{.offset = 16384, .length = 8192}));
  EXPECT_EQ(requests[3].range, (ByteRange{.offset = 24576, .length = 16384}));
  client_->Release();
  FLOE_EXPECT_OK(first->Get());
  FLOE_EXPECT_OK(second->Get());
  EXPECT_EQ(counters_.reads_joined, 1U);
}

TEST_F(FillerTest, ScatteredDemandsFetchNothingAhead) {
  Start(TestBlob::Make({.file_bytes = {200000}}), FillOptions());
  for (const uint64_t offset : {0ULL, 81920ULL, 40960ULL, 163840ULL}) {
    FLOE_EXPECT_OK(Read({.offset = offset, .length = 1024})->Get());
  }
  filler_->Stop();
  EXPECT_EQ(client_->requests().size(), 4U);
}

TEST_F(FillerTest, PrefetchIsShedBeyondItsLimit) {
  FillOptions options;
  options.max_prefetch_requests = 1;
  Start(TestBlob::Make({.file_bytes = {200000}}), options);
  FLOE_EXPECT_OK(Read({.offset = 0, .length = 1024})->Get());  // Unit 0.
  client_->Hold();
  const auto first = Read({.offset = 8192, .length = 1024});  // Unit 1, ahead: 2.
  client_->WaitForRequests(3);
  const auto second = Read({.offset = 16384, .length = 1024});  // Joins unit 2; ahead: shed.
  client_->Release();
  FLOE_EXPECT_OK(first->Get());
  FLOE_EXPECT_OK(second->Get());
  filler_->Stop();
  EXPECT_EQ(client_->requests().size(), 3U);
}

/// Many units, one request for every unit.
class PrefetchTest : public FillerTest {
 protected:
  void StartWith(uint32_t max_prefetch_requests) {
    FillOptions options = NoReadAhead();
    options.max_prefetch_requests = max_prefetch_requests;
    options.merge.max_request_bytes = kUnitBytes;
    Start(TestBlob::Make({.file_bytes = {200000}}), options);
  }
  std::vector<uint64_t> RequestedUnits() {
    std::vector<uint64_t> units;
    for (const auto& request : client_->requests()) {
      units.push_back(request.range.offset / kUnitBytes);
    }
    return units;
  }
  void WaitUntilPresent(uint32_t unit) const {
    while (!blob_->cache().IsUnitPresent(unit)) {
      std::this_thread::yield();
    }
  }
  static constexpr uint64_t kUnitBytes = 8192;
};

TEST_F(PrefetchTest, RunsAreFetchedInTheirOrderThoughNobodyReads) {
  StartWith(/*max_prefetch_requests=*/1);
  blob_->Prefetch({{.first_unit = 5, .unit_count = 2}, {.first_unit = 1, .unit_count = 3}});
  WaitUntilPresent(3);
  filler_->Stop();
  EXPECT_THAT(RequestedUnits(), ::testing::ElementsAre(5, 6, 1, 2, 3));
  EXPECT_EQ(counters_.reads_filled, 0U);
}

TEST_F(PrefetchTest, NeighboursShareRequestsUpToALimitOfTheirOwn) {
  Start(TestBlob::Make({.file_bytes = {9U << 20U}, .unit_bytes = 1U << 18U}), NoReadAhead());
  const uint32_t units = blob_->map().unit_count();
  blob_->Prefetch({{.first_unit = 0, .unit_count = units}});
  WaitUntilPresent(units - 1);
  filler_->Stop();
  std::vector<uint64_t> lengths;
  for (const auto& request : client_->requests()) {
    lengths.push_back(request.range.length);
  }
  EXPECT_THAT(lengths, ::testing::ElementsAre(4U << 20U, 4U << 20U, (1U << 20U) + 512));
}

TEST_F(PrefetchTest, WaitsForSlotsAndIsNotForgotten) {
  StartWith(/*max_prefetch_requests=*/2);
  client_->Hold();
  blob_->Prefetch({{.first_unit = 0, .unit_count = 8}});
  client_->WaitForRequests(2);
  // Demand is not held up by them.
  const auto demand = Read({.offset = 20 * kUnitBytes, .length = 1024});
  client_->WaitForRequests(3);
  EXPECT_THAT(RequestedUnits(), ::testing::ElementsAre(0, 1, 20));
  client_->Release();
  FLOE_EXPECT_OK(demand->Get());
  WaitUntilPresent(7);
  filler_->Stop();
  EXPECT_EQ(client_->requests().size(), 9U);
}

TEST_F(PrefetchTest, DemandJoinsWhatIsUnderWay) {
  StartWith(/*max_prefetch_requests=*/1);
  client_->Hold();
  blob_->Prefetch({{.first_unit = 2, .unit_count = 1}});
  client_->WaitForRequests(1);
  const auto demand = Read({.offset = 2 * kUnitBytes, .length = 1024});
  client_->Release();
  FLOE_EXPECT_OK(demand->Get());
  EXPECT_EQ(client_->requests().size(), 1U);
  EXPECT_EQ(counters_.reads_joined, 1U);
}

TEST_F(PrefetchTest, BlobsTakeTurns) {
  StartWith(/*max_prefetch_requests=*/1);
  const TestBlob second = TestBlob::Make({.file_bytes = {200000}, .seed = 2});
  client_->AddBlob(second.blob);
  auto opened =
      Blob::Open(second.Store(directory_.path()), second.key, "boot-1", *filler_, counters_);
  FLOE_ASSERT_OK(opened);
  FLOE_ASSERT_OK((*opened)->AddSources(*blob_->sources()));
  client_->Hold();
  blob_->Prefetch({{.first_unit = 0, .unit_count = 2}});
  (*opened)->Prefetch({{.first_unit = 0, .unit_count = 2}});
  client_->Release();
  WaitUntilPresent(1);
  while (!(*opened)->cache().IsUnitPresent(1)) {
    std::this_thread::yield();
  }
  filler_->Stop();
  std::vector<Digest> order;
  for (const auto& request : client_->requests()) {
    order.push_back(request.digest);
  }
  EXPECT_THAT(order, ::testing::UnorderedElementsAre(test_blob_.digest, test_blob_.digest,
                                                     second.digest, second.digest));
  EXPECT_EQ(order[0], test_blob_.digest);
}

TEST_F(PrefetchTest, WhatIsPresentIsNotFetchedAgain) {
  StartWith(/*max_prefetch_requests=*/4);
  FLOE_EXPECT_OK(Read({.offset = 2 * kUnitBytes, .length = 1024})->Get());
  blob_->Prefetch({{.first_unit = 1, .unit_count = 3}});
  WaitUntilPresent(3);
  WaitUntilPresent(1);
  filler_->Stop();
  EXPECT_THAT(RequestedUnits(), ::testing::UnorderedElementsAre(2, 1, 3));
}

TEST_F(PrefetchTest, ACompleteBlobWantsNothing) {
  StartWith(/*max_prefetch_requests=*/4);
  FLOE_EXPECT_OK(Read(test_blob_.WholeDevice())->Get());
  const size_t requests = client_->requests().size();
  blob_->Prefetch({{.first_unit = 0, .unit_count = 3}});
  filler_->Stop();
  EXPECT_EQ(client_->requests().size(), requests);
}

TEST_F(PrefetchTest, AFailureEndsIt) {
  StartWith(/*max_prefetch_requests=*/1);
  client_->SetScript([](const auto&) { return Unauthenticated("401"); });
  client_->Hold();
  blob_->Prefetch({{.first_unit = 0, .unit_count = 20}});
  client_->WaitForRequests(1);
  client_->Release();
  while (Count(FaultKind::kOther).all == 0) {
    std::this_thread::yield();
  }
  client_->SetScript(nullptr);
  FLOE_EXPECT_OK(Read({.offset = 22 * kUnitBytes, .length = 1024})->Get());
  filler_->Stop();
  EXPECT_EQ(client_->requests().size(), 2U);
}

TEST_F(PrefetchTest, StopForgetsIt) {
  StartWith(/*max_prefetch_requests=*/1);
  client_->Hold();
  blob_->Prefetch({{.first_unit = 0, .unit_count = 20}});
  client_->WaitForRequests(1);
  filler_->Stop();
  EXPECT_EQ(client_->requests().size(), 1U);
  blob_->Prefetch({{.first_unit = 0, .unit_count = 20}});
  EXPECT_EQ(client_->requests().size(), 1U);
}

TEST_F(FillerTest, ConcurrentReadersOfEverythingGetRightBytes) {
  FillOptions options;
  options.workers = 3;
  Start(TestBlob::Make({.file_bytes = std::vector<uint64_t>(40, 9000), .seed = 3}), options);
  std::vector<std::jthread> readers;
  std::atomic<int> wrong = 0;
  for (uint32_t r = 0; r < 4; ++r) {
    readers.emplace_back([&, r] {
      std::mt19937 random(r);
      for (int i = 0; i < 200; ++i) {
        const uint64_t at = random() % (test_blob_.device.size() / 4096) * 4096;
        const ByteRange range{.offset = at, .length = 4096};
        if (!Read(range)->Get() || CacheBytes(range) != test_blob_.Bytes(range)) {
          ++wrong;
        }
      }
    });
  }
  readers.clear();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(counters_.reads_inflight, 0U);
  EXPECT_EQ(counters_.reads_hit + counters_.reads_joined + counters_.reads_filled, 800U);
}

TEST_F(FillerTest, GzipUnitsAreFilledWithTheirWindows) {
  const GzipBlob gzip = GzipBlob::Make();
  const TestBlob& blob = gzip.blob;
  Start(blob);
  client_->AddBlob(gzip.windows);
  const uint64_t middle = AlignDown(blob.device.size() / 2, 4096);
  const ByteRange range{.offset = middle, .length = 4096};
  FLOE_EXPECT_OK(Read(range)->Get());
  EXPECT_EQ(CacheBytes(range), blob.Bytes(range));
  EXPECT_EQ(client_->requests().size(), 2U);
  EXPECT_EQ(counters_.fetched_bytes,
            client_->requests()[0].range.length + client_->requests()[1].range.length);
  EXPECT_LT(client_->requests()[0].range.length, blob.blob.size() / 2);
  FLOE_EXPECT_OK(Read(blob.WholeDevice())->Get());
  EXPECT_EQ(CacheBytes(blob.WholeDevice()), blob.device);
}

}  // namespace
}  // namespace floe::cachemgr::testing
