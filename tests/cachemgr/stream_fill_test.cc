// Fills of streamed units: one zstd frame, slice by slice.
#include <atomic>
#include <cerrno>
#include <mutex>
#include <random>
#include <thread>

#include "cachemgr/cache/filler.h"
#include "tests/cachemgr/fill_fixture.h"
#include "tests/cachemgr/stream_blob.h"

namespace floe::cachemgr::testing {
namespace {

using Request = FakeRegistryClient::Request;
using Answer = std::optional<Result<std::string>>;

constexpr uint64_t kMiB = 1U << 20U;
constexpr uint64_t kPartBytes = 512U << 10U;

/// Lets requests up to a byte of the blob through, and has the others wait.
class Gate {
 public:
  void OpenUpTo(uint64_t end) {
    {
      const MutexLock lock(mutex_);
      end_ = end;
    }
    changed_.NotifyAll();
  }
  void Open() { OpenUpTo(UINT64_MAX); }
  void Pass(const Request& request) {
    const MutexLock lock(mutex_);
    while (request.range.end() > end_) {
      changed_.Wait(mutex_);
    }
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  uint64_t end_ FLOE_GUARDED_BY(mutex_) = 0;
};

/// A cache file of a channel that remembers its writes and can be full.
class RecordingFile final : public CacheFile {
 public:
  explicit RecordingFile(uint64_t size) : bytes_(size, '\0') {}
  [[nodiscard]] WriteRules rules() const override { return {}; }
  Result<void> Write(std::span<const std::byte> bytes, uint64_t offset) override {
    const MutexLock lock(mutex_);
    if (full_) {
      return ErrnoError(ENOSPC, "pwrite");
    }
    offsets_.push_back(offset);
    std::ranges::copy(
        bytes, std::as_writable_bytes(std::span(bytes_)).begin() + static_cast<ptrdiff_t>(offset));
    return Ok();
  }
  Result<void> Sync() override { return Ok(); }
  std::string bytes() {
    const MutexLock lock(mutex_);
    return bytes_;
  }
  std::vector<uint64_t> offsets() {
    const MutexLock lock(mutex_);
    return offsets_;
  }
  void SetFull(bool full) {
    const MutexLock lock(mutex_);
    full_ = full;
  }

 private:
  Mutex mutex_;
  std::string bytes_ FLOE_GUARDED_BY(mutex_);
  std::vector<uint64_t> offsets_ FLOE_GUARDED_BY(mutex_);
  bool full_ FLOE_GUARDED_BY(mutex_) = false;
};

class StreamFillTest : public FillTest {
 protected:
  void StartStreams(int sources = 1, unsigned workers = 2) {
    FillOptions options = NoReadAhead();
    options.stream_part_bytes = kPartBytes;
    options.workers = workers;
    Start(StreamBlob(), options, sources);
  }
  void TearDown() override {
    gate_.Open();
    FillTest::TearDown();
  }
  void UseGate() {
    client_->SetScript([this](const Request& request) -> Answer {
      gate_.Pass(request);
      return std::nullopt;
    });
  }
  [[nodiscard]] static ByteRange Streamed() { return StreamBlob().data.units[1].range; }
  /// A block of the first file, in its n-th MiB: early slices are not compressed, so that the n-th
  /// MiB of the frame has them.
  [[nodiscard]] ByteRange Early(uint64_t n) const {
    return {.offset = File(0).offset + n * kMiB + kMiB / 2, .length = kBlockBytes};
  }
  [[nodiscard]] ByteRange Last() const {
    return {.offset = File(2).offset + kMiB / 2, .length = kBlockBytes};
  }
  void ExpectRight(ByteRange range) { EXPECT_TRUE(CacheBytes(range) == test_blob_.Bytes(range)); }
  void WaitUntilAllPresent() {
    while (!blob_->cache().AllPresent()) {
      std::this_thread::yield();
    }
  }
  /// What was asked for of the streamed unit, in the order of the requests.
  std::vector<Request> Parts() {
    std::vector<Request> parts;
    for (Request& request : client_->requests()) {
      if (request.range.offset >= Streamed().offset) {
        parts.push_back(std::move(request));
      }
    }
    return parts;
  }
  /// They cover the unit, each byte once.
  void ExpectNothingTwice() {
    uint64_t at = Streamed().offset;
    for (const Request& part : Parts()) {
      EXPECT_EQ(part.range.offset, at);
      at = part.range.end();
    }
    EXPECT_EQ(at, Streamed().end());
  }
  /// The right bytes, but for one: blocks of random bytes are stored in the frame as they are.
  static std::string Wrong(const Request& request, uint64_t at) {
    std::string bytes = StreamBlob().blob.substr(request.range.offset, request.range.length);
    if (at >= request.range.offset && at < request.range.end()) {
      bytes[at - request.range.offset] ^= 1;
    }
    return bytes;
  }

  Gate gate_;
};

TEST_F(StreamFillTest, EverySliceIsVisibleAsSoonAsItIsThere) {
  StartStreams();
  UseGate();
  const auto last = Read(Last());
  for (uint64_t n = 0; n < 3; ++n) {
    const auto reader = Read(Early(n));
    EXPECT_EQ(reader->answers(), 0);
    gate_.OpenUpTo(Streamed().offset + (n + 2) * kMiB);
    FLOE_EXPECT_OK(reader->Get());
    ExpectRight(Early(n));
    EXPECT_FALSE(blob_->cache().IsPresent(Early(n + 1)));
  }
  EXPECT_EQ(last->answers(), 0);
  gate_.Open();
  FLOE_EXPECT_OK(last->Get());
  ExpectRight(Last());
  ExpectNothingTwice();
  EXPECT_EQ(counters_.reads_filled, 1U);
  EXPECT_EQ(counters_.reads_joined, 3U);
}

TEST_F(StreamFillTest, ItGoesOnToItsEndThoughNobodyWaits) {
  StartStreams();
  FLOE_EXPECT_OK(Read(Early(0))->Get());
  FLOE_EXPECT_OK(Read({.offset = 0, .length = 1})->Get());  // Unit 0.
  WaitUntilAllPresent();
  filler_->Stop();
  ExpectRight(test_blob_.WholeDevice());
  ExpectNothingTwice();
  for (const Request& part : Parts()) {
    EXPECT_LE(part.range.length, kPartBytes);
  }
}

TEST_F(StreamFillTest, AReadOverBothUnitsWaitsForBoth) {
  StartStreams();
  UseGate();
  const ByteRange both{.offset = 0, .length = 128U << 10U};
  const auto reader = Read(both);
  gate_.OpenUpTo(Streamed().offset);  // Unit 0 only.
  while (!blob_->cache().IsUnitPresent(0)) {
    std::this_thread::yield();
  }
  EXPECT_EQ(reader->answers(), 0);
  gate_.OpenUpTo(Streamed().offset + 2 * kMiB);
  FLOE_EXPECT_OK(reader->Get());
  ExpectRight(both);
}

TEST_F(StreamFillTest, WaitersAreAnsweredInTheOrderOfTheirSlices) {
  class Noting final : public DemandReply {
   public:
    Noting(std::vector<uint64_t>& order, Mutex& mutex, uint64_t number)
        : order_(order), mutex_(mutex), number_(number) {}
    void Send(const Result<void>& outcome) override {
      const MutexLock lock(mutex_);
      order_.push_back(outcome ? number_ : UINT64_MAX);
    }

   private:
    std::vector<uint64_t>& order_;
    Mutex& mutex_;
    const uint64_t number_;
  };
  StartStreams();
  client_->Hold();
  std::vector<uint64_t> order;
  Mutex mutex;
  const auto last = Read(Last());
  for (const uint64_t n : {2U, 0U, 3U, 1U}) {
    blob_->Demand(Early(n), std::make_unique<Noting>(order, mutex, n));
  }
  client_->Release();
  FLOE_EXPECT_OK(last->Get());
  const MutexLock lock(mutex);
  EXPECT_THAT(order, ::testing::ElementsAre(0, 1, 2, 3));
}

TEST_F(StreamFillTest, OnlyLackOfProgressTimesOut) {
  StartStreams();
  UseGate();
  const auto last = Read(Last());
  for (uint64_t n = 0; n < 3; ++n) {
    const auto reader = Read(Early(n));
    gate_.OpenUpTo(Streamed().offset + (n + 2) * kMiB);
    FLOE_EXPECT_OK(reader->Get());
    clock_.Advance(std::chrono::seconds(50));
    filler_->ExpireDue();
    EXPECT_EQ(last->answers(), 0) << n;
  }
  clock_.Advance(std::chrono::seconds(11));
  filler_->ExpireDue();
  FLOE_EXPECT_ERROR(last->Get(), ErrorCode::kDeadlineExceeded, "not there in time");
  // The fill goes on, and whoever asks again joins it.
  const auto again = Read(Last());
  gate_.Open();
  FLOE_EXPECT_OK(again->Get());
  ExpectNothingTwice();
}

TEST_F(StreamFillTest, PassingOverWhatIsThereIsProgressToo) {
  StartStreams();
  UseGate();
  blob_->UseCacheFile(std::make_shared<RecordingFile>(test_blob_.device.size()),
                      {{.offset = 0, .length = 4 * kMiB}});
  const auto last = Read(Last());
  for (const size_t part : {1U, 3U, 5U}) {
    client_->WaitForRequests(part + 1);
    gate_.OpenUpTo(Parts()[part].range.end());
    client_->WaitForRequests(part + 3);  // That part was taken, so the one before is used up.
    clock_.Advance(std::chrono::seconds(50));
    filler_->ExpireDue();
    EXPECT_EQ(last->answers(), 0) << part;
  }
  EXPECT_LT(Parts()[5].range.end(), Streamed().offset + 3 * kMiB);
  gate_.Open();
  FLOE_EXPECT_OK(last->Get());
}

TEST_F(StreamFillTest, TheNextSourceGoesOnWhereOneStopped) {
  StartStreams(/*sources=*/2);
  const uint64_t stop = Streamed().offset + 2 * kMiB;
  client_->SetScript([stop](const Request& request) -> Answer {
    if (request.repository == "r0/app" && request.range.end() > stop) {
      return WithFault(Unavailable("gone"), FaultKind::kConnection);
    }
    return std::nullopt;
  });
  FLOE_EXPECT_OK(Read(Last())->Get());
  ExpectRight(Last());
  ExpectRight(Early(3));
  uint64_t wanted = 0;
  for (const Request& part : Parts()) {
    if (part.repository == "r1/app") {
      EXPECT_GE(part.range.end(), stop);
    }
    wanted += part.range.length;
  }
  // What failed twice at most: the parts that were on their way.
  EXPECT_LE(wanted, Streamed().length + 3 * kPartBytes);
  EXPECT_EQ(counters_.reads_failed, 0U);
}

TEST_F(StreamFillTest, AttemptsCountFromTheLastPartThatCame) {
  StartStreams(/*sources=*/2);
  client_->SetScript(
      [failed = std::make_shared<std::set<uint64_t>>()](const Request& request) -> Answer {
        if (failed->insert(request.range.offset).second) {  // The first time, wherever.
          return WithFault(Unavailable("gone"), FaultKind::kConnection);
        }
        return std::nullopt;
      });
  FLOE_EXPECT_OK(Read(Last())->Get());
  ExpectRight(Last());
}

TEST_F(StreamFillTest, WhenAllSourcesFailEveryWaiterFailsOnceAndWhatIsThereStays) {
  StartStreams(/*sources=*/2);
  const uint64_t stop = Streamed().offset + 2 * kMiB;
  client_->SetScript([stop](const Request& request) -> Answer {
    return request.range.end() > stop ? Answer(NotFound("gone")) : std::nullopt;
  });
  client_->Hold();
  const auto early = Read(Early(0));
  const auto later = Read(Early(3));
  const auto last = Read(Last());
  client_->Release();
  FLOE_EXPECT_OK(early->Get());
  FLOE_EXPECT_ERROR(later->Get(), ErrorCode::kNotFound, "gone");
  FLOE_EXPECT_ERROR(last->Get(), ErrorCode::kNotFound, "gone");
  EXPECT_TRUE(blob_->cache().IsPresent(Early(0)));
  client_->SetScript(nullptr);
  FLOE_EXPECT_OK(Read(Last())->Get());
  filler_->Stop();
  EXPECT_EQ(later->answers(), 1);
  EXPECT_EQ(last->answers(), 1);
}

TEST_F(StreamFillTest, AWrongSliceFailsItsWaitersAndAllLaterOnes) {
  StartStreams();
  const uint64_t wrong = Streamed().offset + 5 * kMiB / 2;
  client_->SetScript([wrong](const Request& request) -> Answer {
    return Result<std::string>(Wrong(request, wrong));
  });
  client_->Hold();
  const auto before = Read(Early(1));
  const auto it = Read(Early(2));
  const auto last = Read(Last());
  client_->Release();
  FLOE_EXPECT_OK(before->Get());
  FLOE_EXPECT_ERROR(it->Get(), ErrorCode::kDataLoss, "sha256");
  FLOE_EXPECT_ERROR(last->Get(), ErrorCode::kDataLoss, "sha256");
  EXPECT_TRUE(blob_->cache().IsPresent(Early(1)));
  EXPECT_FALSE(blob_->cache().IsPresent(Early(2)));
  EXPECT_EQ(CacheBytes(Early(2)), std::string(kBlockBytes, '\0'));
  EXPECT_EQ(counters_.integrity_errors, 1U);

  client_->SetScript(nullptr);
  const size_t asked = Parts().size();
  FLOE_EXPECT_OK(Read(Last())->Get());
  EXPECT_EQ(Parts()[asked].range.offset, Streamed().offset);
  ExpectRight(Early(2));
  ExpectRight(Last());
}

TEST_F(StreamFillTest, AfterWrongBytesTheNextSourceIsAsked) {
  StartStreams(/*sources=*/2);
  client_->SetScript([](const Request& request) -> Answer {
    if (request.repository == "r0/app") {
      return Result<std::string>(std::string(request.range.length, 'x'));
    }
    return std::nullopt;
  });
  FLOE_EXPECT_ERROR(Read(Early(0))->Get(), ErrorCode::kDataLoss, "zstd stream");
  FLOE_EXPECT_OK(Read(Early(0))->Get());
  ExpectRight(Early(0));
}

TEST_F(StreamFillTest, SlicesThatAreThereAreNotWrittenAgain) {
  StartStreams();
  auto file = std::make_shared<RecordingFile>(test_blob_.device.size());
  blob_->UseCacheFile(file, {{.offset = 0, .length = 3 * kMiB}});
  FLOE_EXPECT_OK(Read(Last())->Get());
  const std::vector<uint64_t> offsets = file->offsets();
  ASSERT_FALSE(offsets.empty());
  EXPECT_GE(*std::ranges::min_element(offsets), 2 * kMiB);
  const std::string bytes = file->bytes();
  EXPECT_TRUE(bytes.substr(3 * kMiB) == test_blob_.device.substr(3 * kMiB));
}

TEST_F(StreamFillTest, ItEndsWhereAllThatIsLeftIsThere) {
  StartStreams();
  auto file = std::make_shared<RecordingFile>(test_blob_.device.size());
  blob_->UseCacheFile(file, {{.offset = 2 * kMiB, .length = test_blob_.device.size() - 2 * kMiB}});
  FLOE_EXPECT_OK(Read(Early(1))->Get());
  FLOE_EXPECT_OK(Read({.offset = 0, .length = 1})->Get());
  WaitUntilAllPresent();
  filler_->Stop();
  EXPECT_LT(Parts().back().range.end(), Streamed().offset + 4 * kMiB);
}

TEST_F(StreamFillTest, WhatWasPresentStaysAfterAKillAndIsNotFilledAgain) {
  StartStreams();
  const uint64_t stop = Streamed().offset + 2 * kMiB;
  client_->SetScript([stop](const Request& request) -> Answer {
    return request.range.end() > stop ? Answer(NotFound("gone")) : std::nullopt;
  });
  FLOE_EXPECT_ERROR(Read(Last())->Get(), ErrorCode::kNotFound, "gone");
  Reopen();
  EXPECT_TRUE(blob_->cache().IsPresent(Early(0)));
  EXPECT_FALSE(blob_->cache().IsPresent(Early(2)));
  client_->SetScript(nullptr);
  const size_t asked = Parts().size();
  FLOE_EXPECT_OK(Read(Early(2))->Get());
  EXPECT_EQ(Parts()[asked].range.offset, Streamed().offset);
  ExpectRight(Early(0));
  ExpectRight(Early(2));
}

TEST_F(StreamFillTest, AnotherCacheFileMeanwhileGetsAllOfIt) {
  StartStreams();
  UseGate();
  const auto last = Read(Last());
  const auto first = Read(Early(0));
  gate_.OpenUpTo(Streamed().offset + 2 * kMiB);
  FLOE_EXPECT_OK(first->Get());
  auto file = std::make_shared<RecordingFile>(test_blob_.device.size());
  blob_->UseCacheFile(file, {});
  const auto again = Read(Early(0));
  gate_.Open();
  FLOE_EXPECT_OK(again->Get());
  FLOE_EXPECT_OK(last->Get());
  EXPECT_TRUE(file->bytes().substr(Early(0).offset, kBlockBytes) == test_blob_.Bytes(Early(0)));
}

TEST_F(StreamFillTest, AFullDiskFailsTheWaitersUnlessRoomCanBeMade) {
  std::shared_ptr<RecordingFile> file;
  std::atomic<bool> can_make_room = false;
  make_room_ = [&] {
    file->SetFull(!can_make_room);
    return can_make_room.load();
  };
  StartStreams();
  file = std::make_shared<RecordingFile>(test_blob_.device.size());
  blob_->UseCacheFile(file, {});
  file->SetFull(true);
  FLOE_EXPECT_ERROR(Read(Early(0))->Get(), ErrorCode::kResourceExhausted, "");
  EXPECT_FALSE(blob_->cache().IsPresent(Early(0)));
  can_make_room = true;
  FLOE_EXPECT_OK(Read(Early(0))->Get());
  filler_->Stop();
}

TEST_F(StreamFillTest, StopCancelsItsPartsAndFailsItsWaiters) {
  StartStreams();
  client_->Hold();
  const auto early = Read(Early(0));
  const auto last = Read(Last());
  client_->WaitForRequests(2);
  filler_->Stop();
  FLOE_EXPECT_ERROR(early->Get(), ErrorCode::kCancelled, "");
  FLOE_EXPECT_ERROR(last->Get(), ErrorCode::kCancelled, "");
  FLOE_EXPECT_ERROR(Read(Early(1))->Get(), ErrorCode::kCancelled, "stopping");
  EXPECT_EQ(Parts().size(), 2U);
  EXPECT_EQ(counters_.reads_inflight, 0U);
}

TEST_F(StreamFillTest, StopInTheMiddleAnswersEveryWaiter) {
  StartStreams();
  const auto last = Read(Last());
  FLOE_EXPECT_OK(Read(Early(0))->Get());
  filler_->Stop();
  (void)last->Get();  // Whatever it was: answered.
  EXPECT_EQ(last->answers(), 1);
  EXPECT_EQ(counters_.reads_inflight, 0U);
}

TEST_F(StreamFillTest, WithoutSourcesItFailsWithAReason) {
  StartStreams();
  const std::filesystem::path other = directory_ / "other";
  auto opened =
      Blob::Open(StreamBlob().Store(other), StreamBlob().key, "boot-1", *filler_, counters_);
  FLOE_ASSERT_OK(opened);
  auto outcome = std::make_shared<Outcome>();
  (*opened)->Demand(Early(0), std::make_unique<FakeReply>(outcome));
  FLOE_EXPECT_ERROR(outcome->Get(), ErrorCode::kFailedPrecondition, "no source");
}

TEST_F(StreamFillTest, AFrameThatEndsEarlyIsDataLoss) {
  TestBlob blob = StreamBlob();
  blob.data.units[1].range.length -= 10000;
  const auto index = image::LayerIndex::Create(blob.data);
  FLOE_ASSERT_OK(index);
  blob.map = image::EncodeBlobMap(*index, 0);
  blob.key = image::DeviceKey(blob.map);
  Start(blob, NoReadAhead());
  FLOE_EXPECT_ERROR(Read({.offset = File(2).offset + kMiB - kBlockBytes, .length = 1})->Get(),
                    ErrorCode::kDataLoss, "the stream ends after");
  FLOE_EXPECT_OK(Read(Early(0))->Get());
}

TEST_F(StreamFillTest, OtherBlobsAreServedMeanwhileByOneWorker) {
  StartStreams(/*sources=*/1, /*workers=*/1);
  const TestBlob other = TestBlob::Make({});
  client_->AddBlob(other.blob);
  auto opened =
      Blob::Open(other.Store(directory_.path()), other.key, "boot-1", *filler_, counters_);
  FLOE_ASSERT_OK(opened);
  FLOE_ASSERT_OK((*opened)->AddSources(*blob_->sources()));
  const auto last = Read(Last());
  auto outcome = std::make_shared<Outcome>();
  (*opened)->Demand({.offset = 0, .length = 4096}, std::make_unique<FakeReply>(outcome));
  FLOE_EXPECT_OK(outcome->Get());
  FLOE_EXPECT_OK(last->Get());
}

TEST_F(StreamFillTest, PrefetchTakesOneSlotForAllOfIt) {
  StartStreams();
  blob_->Prefetch({{.first_unit = 0, .unit_count = 2}});
  WaitUntilAllPresent();
  filler_->Stop();
  ExpectRight(test_blob_.WholeDevice());
  ExpectNothingTwice();
}

TEST_F(StreamFillTest, ReadersOfEverythingGetRightBytes) {
  StartStreams(/*sources=*/1, /*workers=*/3);
  std::vector<std::jthread> readers;
  std::atomic<int> wrong = 0;
  for (uint32_t r = 0; r < 4; ++r) {
    readers.emplace_back([&, r] {
      std::mt19937_64 random(r);
      for (int i = 0; i < 100; ++i) {
        const uint64_t at = random() % (test_blob_.device.size() / 65536) * 65536;
        const ByteRange range{.offset = at, .length = 65536};
        if (!Read(range)->Get() || CacheBytes(range) != test_blob_.Bytes(range)) {
          ++wrong;
        }
      }
    });
  }
  readers.clear();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(counters_.reads_inflight, 0U);
  ExpectNothingTwice();
}

}  // namespace
}  // namespace floe::cachemgr::testing
