#include "cachemgr/cache/blob_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>

#include "tests/cachemgr/fill_fixture.h"

namespace floe::cachemgr::testing {
namespace {

class BlobCacheTest : public FillTest {
 protected:
  static constexpr ByteRange kFirstBlock{.offset = 0, .length = 4096};

  std::filesystem::path InCache(const std::string& name) const {
    return directory_ / test_blob_.key / name;
  }
  void Overwrite(const std::string& name, uint64_t offset, const std::string& bytes) {
    FLOE_ASSERT_OK_AND_ASSIGN(const UniqueFd fd, OpenFile(InCache(name), O_WRONLY));
    FLOE_ASSERT_OK(PwriteAll(fd.get(), std::as_bytes(std::span(bytes)), offset));
  }
};

TEST_F(BlobCacheTest, PresenceOutlivesTheProcess) {
  Start(TestBlob::Make({}));
  FLOE_ASSERT_OK(Read(kFirstBlock)->Get());
  const uint64_t present = blob_->cache().present_bytes();
  Reopen();
  EXPECT_TRUE(blob_->cache().IsPresent(kFirstBlock));
  EXPECT_FALSE(blob_->cache().IsPresent(File(3)));
  EXPECT_EQ(blob_->cache().present_bytes(), present);
  FLOE_EXPECT_OK(Read(kFirstBlock)->Get());
  EXPECT_EQ(client_->requests().size(), 1U);
}

TEST_F(BlobCacheTest, UnsyncedPresenceDoesNotOutliveTheBoot) {
  Start(TestBlob::Make({}));
  FLOE_ASSERT_OK(Read(kFirstBlock)->Get());
  FLOE_ASSERT_OK(blob_->cache().Checkpoint());
  FLOE_ASSERT_OK(Read(File(3))->Get());
  Reopen("boot-2");
  EXPECT_TRUE(blob_->cache().IsPresent(kFirstBlock));
  EXPECT_FALSE(blob_->cache().IsPresent(File(3)));
  // The new boot's own presence counts in the new boot, and the old boot's does not come back.
  FLOE_ASSERT_OK(Read({.offset = File(3).offset, .length = 512})->Get());
  Reopen("boot-2");
  EXPECT_TRUE(blob_->cache().IsPresent({.offset = File(3).offset, .length = 512}));
  Reopen("boot-1");
  EXPECT_FALSE(blob_->cache().IsPresent({.offset = File(3).offset, .length = 512}));
}

TEST_F(BlobCacheTest, WhatAKilledProcessFilledIsMadeDurableByTheNext) {
  Start(TestBlob::Make({}));
  FLOE_ASSERT_OK(Read(kFirstBlock)->Get());
  Reopen();
  FLOE_ASSERT_OK(blob_->cache().Checkpoint());
  Reopen("boot-2");
  EXPECT_TRUE(blob_->cache().IsPresent(kFirstBlock));
}

TEST_F(BlobCacheTest, ADataFileThatStartsAnewHasNoPresenceBesideIt) {
  Start(TestBlob::Make({}));
  FLOE_ASSERT_OK(Read(test_blob_.WholeDevice())->Get());
  FLOE_ASSERT_OK(blob_->cache().Checkpoint());
  blob_.reset();
  std::filesystem::resize_file(InCache("data"), 4096);
  Reopen();
  EXPECT_FALSE(blob_->cache().complete());
  EXPECT_FALSE(blob_->cache().IsPresent(kFirstBlock));
  EXPECT_FALSE(std::filesystem::exists(InCache("complete")));
}

TEST_F(BlobCacheTest, DataWithoutPresenceIsAbsent) {
  Start(TestBlob::Make({}));
  // Killed after the data was written and before presence was.
  FLOE_ASSERT_OK(
      PwriteAll(blob_->cache().data_fd(), std::as_bytes(std::span(test_blob_.device)), 0));
  Reopen();
  EXPECT_FALSE(blob_->cache().IsPresent(kFirstBlock));
  FLOE_EXPECT_OK(Read(kFirstBlock)->Get());
  EXPECT_EQ(client_->requests().size(), 1U);
}

TEST_F(BlobCacheTest, TruncatedPresenceIsAbsent) {
  Start(TestBlob::Make({}));
  FLOE_ASSERT_OK(Read(kFirstBlock)->Get());
  std::filesystem::resize_file(InCache("presence"), 4100);
  Reopen();
  EXPECT_FALSE(blob_->cache().IsPresent(kFirstBlock));
  FLOE_EXPECT_OK(Read(kFirstBlock)->Get());
}

TEST_F(BlobCacheTest, OverwrittenPresenceIsAbsent) {
  Start(TestBlob::Make({}));
  Overwrite("presence", 4096, std::string(8, '\xff'));  // The first word: every group.
  Reopen();
  EXPECT_FALSE(blob_->cache().IsPresent(kFirstBlock));
}

TEST_F(BlobCacheTest, PresenceOfAnotherVersionIsAbsent) {
  Start(TestBlob::Make({}));
  FLOE_ASSERT_OK(Read(kFirstBlock)->Get());
  Overwrite("presence", 8, std::string(1, '\x01'));
  Reopen();
  EXPECT_FALSE(blob_->cache().IsPresent(kFirstBlock));
}

TEST_F(BlobCacheTest, PresenceOfALostDataFileIsAbsent) {
  Start(TestBlob::Make({}));
  FLOE_ASSERT_OK(Read(test_blob_.WholeDevice())->Get());
  FLOE_ASSERT_OK(blob_->cache().Checkpoint());
  blob_.reset();
  std::filesystem::remove(InCache("data"));
  Reopen();
  EXPECT_FALSE(blob_->cache().IsPresent(kFirstBlock));
  EXPECT_FALSE(blob_->cache().complete());
  FLOE_EXPECT_OK(Read(kFirstBlock)->Get());
  EXPECT_EQ(CacheBytes(kFirstBlock), test_blob_.Bytes(kFirstBlock));
}

TEST_F(BlobCacheTest, AllPresentBecomesCompleteAtTheCheckpoint) {
  Start(TestBlob::Make({}));
  FLOE_ASSERT_OK(Read(test_blob_.WholeDevice())->Get());
  EXPECT_FALSE(blob_->cache().complete());
  FLOE_ASSERT_OK(blob_->cache().Checkpoint());
  EXPECT_TRUE(blob_->cache().complete());
  Reopen("another boot");
  EXPECT_TRUE(blob_->cache().complete());
  EXPECT_TRUE(blob_->cache().IsPresent(test_blob_.WholeDevice()));
  EXPECT_EQ(CacheBytes(test_blob_.WholeDevice()), test_blob_.device);
  EXPECT_EQ(blob_->cache().present_bytes(), test_blob_.device.size());
}

TEST_F(BlobCacheTest, ACompleteMarkerOfSomethingElseIsIgnored) {
  Start(TestBlob::Make({}));
  FLOE_ASSERT_OK(WriteFileAtomically(InCache("complete"), "floe complete blob 1\nkey x\n"));
  Reopen();
  EXPECT_FALSE(blob_->cache().complete());
  EXPECT_FALSE(std::filesystem::exists(InCache("complete")));
}

TEST_F(BlobCacheTest, WhatWasAllPresentBeforeAKillBecomesCompleteLater) {
  Start(TestBlob::Make({}));
  FLOE_ASSERT_OK(Read(test_blob_.WholeDevice())->Get());
  Reopen();
  FLOE_ASSERT_OK(blob_->cache().Checkpoint());
  EXPECT_TRUE(blob_->cache().complete());
}

TEST_F(BlobCacheTest, ABlobOfNothingIsComplete) {
  Start(TestBlob::Make({.file_bytes = {0}, .unit_bytes = 512, .group_bytes = 512}));
  FLOE_ASSERT_OK(blob_->cache().Checkpoint());
  EXPECT_TRUE(blob_->cache().complete());
}

}  // namespace
}  // namespace floe::cachemgr::testing
