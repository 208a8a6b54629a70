#include "image/scan_pipeline.h"

#include <future>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "tests/image/scan_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

ScannedUnit UnitOf(uint64_t number, uint64_t decoded_length) {
  ScannedUnit unit;
  unit.range = {.offset = number, .length = 1};
  unit.decoded_length = decoded_length;
  return unit;
}

TEST(ScanPipelineTest, BytesAndUnitsKeepTheirOrder) {
  std::mt19937_64 random(3);
  RecordingSink sink;  // Checks that units end where they should.
  std::string sent;
  uint64_t units = 0;
  {
    ScanPipeline pipeline(sink);
    for (; units < 500; ++units) {
      const std::string bytes = MixedData(random, 1 + random() % 30000);
      const size_t half = bytes.size() / 2;
      if (half > 0) {
        FLOE_ASSERT_OK(pipeline.OnDecoded(Bytes(bytes.substr(0, half))));
      }
      FLOE_ASSERT_OK(pipeline.OnDecoded(Bytes(bytes.substr(half))));
      FLOE_ASSERT_OK(pipeline.OnUnit(UnitOf(units, bytes.size())));
      sent += bytes;
    }
    FLOE_ASSERT_OK(pipeline.Finish());
  }
  EXPECT_TRUE(sink.decoded == sent);
  ASSERT_EQ(sink.units.size(), units);
  for (uint64_t i = 0; i < units; ++i) {
    EXPECT_EQ(sink.units[i].range.offset, i);
  }
}

TEST(ScanPipelineTest, NothingIsFinishedAtOnce) {
  RecordingSink sink;
  ScanPipeline pipeline(sink);
  FLOE_EXPECT_OK(pipeline.Finish());
  EXPECT_TRUE(sink.decoded.empty());
}

TEST(ScanPipelineTest, AnErrorReachesWhoFeedsIt) {
  RecordingSink sink;
  sink.limit = 100000;
  ScanPipeline pipeline(sink);
  const std::string bytes(50000, 'x');
  Result<void> fed = Ok();
  for (int i = 0; i < 10000 && fed.has_value(); ++i) {
    fed = pipeline.OnDecoded(Bytes(bytes));
  }
  FLOE_EXPECT_ERROR(fed, ErrorCode::kResourceExhausted, "more than 100000");
  FLOE_EXPECT_ERROR(pipeline.Finish(), ErrorCode::kResourceExhausted, "more than 100000");
}

TEST(ScanPipelineTest, AnErrorAtTheEndComesFromFinish) {
  RecordingSink sink;
  sink.limit = 10;
  ScanPipeline pipeline(sink);
  FLOE_ASSERT_OK(pipeline.OnDecoded(Bytes("more than ten bytes")));
  FLOE_EXPECT_ERROR(pipeline.Finish(), ErrorCode::kResourceExhausted, "more than 10");
}

/// Waits for a word.
class WaitingSink final : public ScanSink {
 public:
  explicit WaitingSink(std::shared_future<void> word) : word_(std::move(word)) {}
  Result<void> OnDecoded(std::span<const std::byte> bytes) override {
    word_.wait();
    bytes_ += bytes.size();
    return Ok();
  }
  Result<void> OnUnit(const ScannedUnit& /*unit*/) override { return Ok(); }
  [[nodiscard]] uint64_t bytes() const { return bytes_; }

 private:
  std::shared_future<void> word_;
  uint64_t bytes_ = 0;
};

TEST(ScanPipelineTest, WhatWaitsIsBounded) {
  std::promise<void> word;
  WaitingSink sink(word.get_future().share());
  ScanPipeline pipeline(sink);
  const std::string batch(ScanPipeline::kBatchBytes, 'x');
  constexpr size_t kRoom = ScanPipeline::kMaxBatches + 1;  // One is at the sink.
  std::atomic<size_t> fed = 0;
  std::thread feeder([&] {
    for (; fed < 3 * kRoom; ++fed) {
      ASSERT_TRUE(pipeline.OnDecoded(Bytes(batch)).has_value());
    }
  });
  while (fed < ScanPipeline::kMaxBatches) {
    std::this_thread::yield();
  }
  EXPECT_LE(fed, kRoom);
  word.set_value();
  feeder.join();
  FLOE_ASSERT_OK(pipeline.Finish());
  EXPECT_EQ(sink.bytes(), 3 * kRoom * batch.size());
}

TEST(ScanPipelineTest, WithoutFinishWhatWaitsIsDropped) {
  std::promise<void> word;
  WaitingSink sink(word.get_future().share());
  {
    ScanPipeline pipeline(sink);
    const std::string batch(ScanPipeline::kBatchBytes, 'x');
    for (int i = 0; i < 4; ++i) {
      FLOE_ASSERT_OK(pipeline.OnDecoded(Bytes(batch)));
    }
    word.set_value();
  }
  EXPECT_LE(sink.bytes(), 4 * ScanPipeline::kBatchBytes);
}

}  // namespace
}  // namespace floe::image
