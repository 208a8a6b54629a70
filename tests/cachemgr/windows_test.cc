// Windows that the node made itself: how they come, are kept and are read.
#include <fcntl.h>

#include "cachemgr/cache/blob_store.h"
#include "cachemgr/cache/windows_file.h"
#include "tests/cachemgr/fill_fixture.h"
#include "tests/cachemgr/gzip_blob.h"

namespace floe::cachemgr::testing {
namespace {

namespace fs = std::filesystem;

class WindowsTest : public FillTest {
 protected:
  void SetUp() override {
    FLOE_ASSERT_OK(WriteFileAtomically(Made(), gzip_.windows));
    Start(gzip_.blob);
  }
  fs::path Made() const { return directory_ / "made"; }
  fs::path Kept() const { return directory_ / gzip_.blob.key / "windows"; }
  /// Of a unit that needs a window, as is asserted.
  ByteRange Middle() const {
    return {.offset = AlignDown(gzip_.blob.device.size() / 2, kBlockBytes), .length = kBlockBytes};
  }
  void ExpectFilled(ByteRange range) {
    FLOE_ASSERT_OK(Read(range)->Get());
    EXPECT_EQ(CacheBytes(range), gzip_.blob.Bytes(range));
  }
  size_t WindowsRequests() const {
    return static_cast<size_t>(std::ranges::count(client_->requests(), Digest::Of(gzip_.windows),
                                                  &FakeRegistryClient::Request::digest));
  }
  /// In the file that the blob has open.
  void Damage() const {
    FLOE_ASSERT_OK_AND_ASSIGN(const UniqueFd fd, OpenFile(Kept(), O_RDWR));
    const std::string wrong(gzip_.windows.size(), 'x');
    FLOE_ASSERT_OK(PwriteAll(fd.get(), std::as_bytes(std::span(wrong)), 0));
  }

  GzipBlob gzip_ = GzipBlob::Make();
};

TEST_F(WindowsTest, AreReadOnTheNodeAndNeverFetched) {
  FLOE_ASSERT_OK(blob_->AddWindows(Made()));
  FLOE_ASSERT_OK(RemoveFile(Made()));
  ExpectFilled(Middle());
  ExpectFilled(gzip_.blob.WholeDevice());
  EXPECT_EQ(WindowsRequests(), 0U);
  EXPECT_EQ(counters_.reads_failed, 0U);
}

TEST_F(WindowsTest, WithoutThemTheRegistryIsAsked) {
  FLOE_EXPECT_ERROR(Read(Middle())->Get(), ErrorCode::kNotFound, "no blob");
  EXPECT_GT(WindowsRequests(), 0U);
  // Learnt from a later mount.
  FLOE_ASSERT_OK(blob_->AddWindows(Made()));
  ExpectFilled(Middle());
}

TEST_F(WindowsTest, AreKnownAfterARestart) {
  FLOE_ASSERT_OK(blob_->AddWindows(Made()));
  Reopen();
  ExpectFilled(Middle());
  EXPECT_EQ(WindowsRequests(), 0U);
}

TEST_F(WindowsTest, DamagedOnesFailTheFillWhereTheRegistryHasNone) {
  FLOE_ASSERT_OK(blob_->AddWindows(Made()));
  Reopen();
  Damage();
  FLOE_EXPECT_ERROR(Read(Middle())->Get(), ErrorCode::kNotFound, "no blob");
  EXPECT_EQ(blob_->windows(), nullptr);
  FLOE_ASSERT_OK(blob_->AddWindows(Made()));
  ExpectFilled(Middle());
}

TEST_F(WindowsTest, DamagedOnesAreFetchedWhereTheRegistryHasThem) {
  client_->AddBlob(gzip_.windows);
  FLOE_ASSERT_OK(blob_->AddWindows(Made()));
  Reopen();
  Damage();
  ExpectFilled(Middle());
  EXPECT_EQ(WindowsRequests(), 1U);
}

TEST_F(WindowsTest, DamageAfterTheyWereCheckedIsFoundByTheWrongBytes) {
  client_->AddBlob(gzip_.windows);
  FLOE_ASSERT_OK(blob_->AddWindows(Made()));
  Damage();
  ExpectFilled(Middle());
  EXPECT_EQ(blob_->windows(), nullptr);
}

TEST_F(WindowsTest, WrongBytesOfTheRegistryDoNotCostTheWindows) {
  FLOE_ASSERT_OK(blob_->AddWindows(Made()));
  client_->SetScript(
      [asked = std::make_shared<std::atomic<int>>(0)](
          const FakeRegistryClient::Request& request) -> std::optional<Result<std::string>> {
        if ((*asked)++ == 0) {
          return Result<std::string>(std::string(request.range.length, 'x'));
        }
        return std::nullopt;
      });
  ExpectFilled(Middle());
  EXPECT_NE(blob_->windows(), nullptr);
  EXPECT_EQ(WindowsRequests(), 0U);
}

// Digests of compressed bytes do not cover windows: what a registry calls windows is not believed.
class SpanDigestsTest : public WindowsTest {
 protected:
  SpanDigestsTest() { gzip_ = GzipBlob::MakeWithSpanDigests(); }
};

TEST_F(SpanDigestsTest, UseTheWindowsOfTheNode) {
  FLOE_ASSERT_OK(blob_->AddWindows(Made()));
  ExpectFilled(gzip_.blob.WholeDevice());
  EXPECT_EQ(WindowsRequests(), 0U);
}

TEST_F(SpanDigestsTest, TakeNoWindowsFromARegistry) {
  client_->AddBlob(gzip_.windows);
  FLOE_EXPECT_ERROR(Read(Middle())->Get(), ErrorCode::kFailedPrecondition,
                    "nothing vouches for others");
  EXPECT_EQ(WindowsRequests(), 0U);
  FLOE_ASSERT_OK(blob_->AddWindows(Made()));
  ExpectFilled(Middle());
}

TEST_F(SpanDigestsTest, DamagedWindowsFailTheFill) {
  client_->AddBlob(gzip_.windows);
  FLOE_ASSERT_OK(blob_->AddWindows(Made()));
  Reopen();
  Damage();
  FLOE_EXPECT_ERROR(Read(Middle())->Get(), ErrorCode::kFailedPrecondition,
                    "nothing vouches for others");
  EXPECT_EQ(WindowsRequests(), 0U);
}

TEST_F(WindowsTest, AFileOfAnotherSizeIsIgnoredAtTheStart) {
  FLOE_ASSERT_OK(WriteFileAtomically(Kept(), "short"));
  Reopen();
  EXPECT_EQ(blob_->windows(), nullptr);
}

TEST_F(WindowsTest, OthersThanTheBlobMapNamesAreRefused) {
  std::string wrong = gzip_.windows;
  wrong.back() = static_cast<char>(wrong.back() ^ 1);
  FLOE_ASSERT_OK(WriteFileAtomically(Made(), wrong));
  FLOE_EXPECT_ERROR(blob_->AddWindows(Made()), ErrorCode::kInvalidArgument, "have digest");
  FLOE_ASSERT_OK(WriteFileAtomically(Made(), gzip_.windows + "x"));
  FLOE_EXPECT_ERROR(blob_->AddWindows(Made()), ErrorCode::kInvalidArgument, "not a file of");
  FLOE_EXPECT_ERROR(blob_->AddWindows(directory_ / "absent"), ErrorCode::kInvalidArgument,
                    "absent");
  FLOE_EXPECT_ERROR(blob_->AddWindows(directory_.path()), ErrorCode::kInvalidArgument, "");
  EXPECT_EQ(blob_->windows(), nullptr);
  EXPECT_FALSE(fs::exists(Kept()));
  EXPECT_FALSE(fs::exists(Kept().native() + ".new"));
}

TEST_F(WindowsTest, OfABlobThatHasNoneAreRefused) {
  const TestBlob plain = TestBlob::Make({});
  auto opened =
      Blob::Open(plain.Store(directory_.path()), plain.key, "boot-1", *filler_, counters_);
  FLOE_ASSERT_OK(opened);
  FLOE_EXPECT_ERROR((*opened)->AddWindows(Made()), ErrorCode::kInvalidArgument, "no windows");
}

TEST_F(WindowsTest, GoAndCountWithTheirBlob) {
  BlobStore store(directory_ / "blobs", "boot-1", *filler_, counters_);
  const fs::path map = directory_ / "map";
  FLOE_ASSERT_OK(WriteFileAtomically(map, gzip_.blob.map));
  DeviceRequest request{.key = gzip_.blob.key, .blob_map = map};
  FLOE_ASSERT_OK(store.Acquire(request));
  const uint64_t before = store.Stored().at(0).disk_bytes;
  request.windows = Made();
  {
    FLOE_ASSERT_OK_AND_ASSIGN(const auto blob, store.Acquire(request));
    EXPECT_NE(blob->windows(), nullptr);
    EXPECT_GT(store.Stored().at(0).disk_bytes, before);
    EXPECT_EQ(store.Stored().at(0).disk_bytes, blob->DiskBytes());
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const bool removed, store.Remove(request.key));
  EXPECT_TRUE(removed);
  EXPECT_FALSE(fs::exists(directory_ / "blobs" / request.key));
}

}  // namespace
}  // namespace floe::cachemgr::testing
