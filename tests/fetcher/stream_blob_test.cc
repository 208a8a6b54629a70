#include <algorithm>
#include <future>

#include "fetcher/registry/blob_stream.h"
#include "tests/fetcher/client_fixture.h"

namespace floe::fetcher {
namespace {

class StreamBlobTest : public ClientTest {
 protected:
  Result<void> Stream(uint64_t size) {
    return client().StreamBlob(
        repository_, digest_, size,
        [this](std::span<const std::byte> bytes) {
          size_t before = got_.size();
          got_.resize(before + bytes.size());
          std::copy(
              bytes.begin(), bytes.end(),
              std::as_writable_bytes(std::span(got_)).begin() + static_cast<ptrdiff_t>(before));
          return Ok();
        },
        Soon());
  }

  void UseBlobOf(size_t size) {
    blob_ = PatternBytes(size);
    digest_ = registry_->AddBlob(repository_.path, blob_);
  }

  std::string got_;
};

TEST_F(StreamBlobTest, EveryByteOnceInOrder) {
  UseBlobOf(20 << 20);
  FLOE_ASSERT_OK(Stream(blob_.size()));
  EXPECT_TRUE(got_ == blob_);
  EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 1);
}

TEST_F(StreamBlobTest, AnEmptyBlobNeedsNoRequest) {
  FLOE_ASSERT_OK(Stream(0));
  EXPECT_EQ(registry_->CountRequests("", ""), 0);
}

TEST_F(StreamBlobTest, ALostConnectionResumesByRange) {
  registry_->InjectFault({.kind = Fault::Kind::kReset, .bytes = 30000});
  registry_->InjectFault({.kind = Fault::Kind::kShortBody, .bytes = 20000});
  registry_->InjectFault({.status = 503});
  FLOE_ASSERT_OK(Stream(blob_.size()));
  EXPECT_TRUE(got_ == blob_);
  EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 4);
  EXPECT_THAT(registry_->requests()[1].Header("range"), ::testing::HasSubstr("bytes="));
}

TEST_F(StreamBlobTest, ConnectionsMayBeLostMoreOftenThanOneRequestIsTried) {
  registry_->InjectFault({.kind = Fault::Kind::kShortBody, .times = 9, .bytes = 10000});
  FLOE_ASSERT_OK(Stream(blob_.size()));
  EXPECT_TRUE(got_ == blob_);
}

TEST_F(StreamBlobTest, AStalledStreamResumes) {
  options_.stall_timeout = milliseconds(50);
  registry_->InjectFault({.kind = Fault::Kind::kStall, .bytes = 50000});
  FLOE_ASSERT_OK(Stream(blob_.size()));
  EXPECT_TRUE(got_ == blob_);
}

TEST_F(StreamBlobTest, AResumptionThatStartsOverIsDataLoss) {
  registry_->InjectFault({.kind = Fault::Kind::kShortBody, .bytes = 1000});
  registry_->InjectFault({.kind = Fault::Kind::kIgnoreRange});
  FLOE_EXPECT_ERROR(Stream(blob_.size()), ErrorCode::kDataLoss, "status 200");
  EXPECT_EQ(got_, blob_.substr(0, got_.size()));
}

TEST_F(StreamBlobTest, AnotherSizeIsDataLoss) {
  FLOE_EXPECT_ERROR(Stream(99999), ErrorCode::kDataLoss, "99999");
  FLOE_EXPECT_ERROR(Stream(100001), ErrorCode::kDataLoss, "100001");
  EXPECT_EQ(got_.size(), 0U);
}

TEST_F(StreamBlobTest, ARegistryThatDiesIsUnavailable) {
  registry_->InjectFault({.kind = Fault::Kind::kShortBody, .times = 1, .bytes = 1000});
  registry_->InjectFault({.kind = Fault::Kind::kClose, .times = Fault::kForever});
  FLOE_EXPECT_ERROR(Stream(blob_.size()), ErrorCode::kUnavailable, "");
  EXPECT_EQ(got_.size(), 1000U);
}

TEST_F(StreamBlobTest, TheSinksErrorIsTheResultAndEndsTheTransfer) {
  UseBlobOf(64 << 20);
  int calls = 0;
  Result<void> result = client().StreamBlob(
      repository_, digest_, blob_.size(),
      [&](std::span<const std::byte>) -> Result<void> {
        ++calls;
        return Unavailable("the disk is full of water");
      },
      Soon());
  FLOE_EXPECT_ERROR(result, ErrorCode::kUnavailable, "full of water");
  EXPECT_EQ(calls, 1);
}

TEST_F(StreamBlobTest, ASlowSinkStopsTheTransferAndNotTheOthers) {
  UseBlobOf(96 << 20);
  options_.stall_timeout = milliseconds(200);
  std::promise<void> first_bytes;
  std::promise<void> go_on;
  std::future<void> released = go_on.get_future();
  Sha256Hasher hasher;
  bool first = true;
  std::future<Result<void>> streaming = std::async(std::launch::async, [&] {
    return client().StreamBlob(
        repository_, digest_, blob_.size(),
        [&](std::span<const std::byte> bytes) {
          if (std::exchange(first, false)) {
            first_bytes.set_value();
            released.wait();
          }
          hasher.Update(bytes);
          return Ok();
        },
        Soon());
  });
  first_bytes.get_future().wait();
  // The stream goes on until its buffer is full; then nothing more arrives, and nothing stalls.
  uint64_t received = 0;
  for (int unchanged = 0; unchanged < 5;) {
    ASSERT_NE(streaming.wait_for(milliseconds(100)), std::future_status::ready);
    uint64_t now = client().counters().body_bytes;
    unchanged = now == received ? unchanged + 1 : 0;
    received = now;
  }
  EXPECT_GE(received, BlobStream::kHighBytes);
  EXPECT_LE(received, BlobStream::kHighBytes + (2U << 20U));
  ExpectFetches({0, 10});
  go_on.set_value();
  FLOE_EXPECT_OK(streaming.get());
  EXPECT_EQ(hasher.Finish(), digest_);
  EXPECT_EQ(registry_->CountRequests("GET", "/blobs/"), 2);
}

}  // namespace
}  // namespace floe::fetcher
