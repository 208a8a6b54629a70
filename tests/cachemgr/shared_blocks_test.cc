// Cache files whose written blocks count as present: what UnitFiller, BlockWriter and SharedBlocks
// do for them, against a file that remembers every write.
#include "cachemgr/cache/shared_blocks.h"

#include <cerrno>
#include <map>

#include "base/mutex.h"
#include "tests/cachemgr/fill_fixture.h"

namespace floe::cachemgr::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Refuses what the anonymous descriptor of cachefiles refuses, and a second write of a block.
class BlockFile final : public CacheFile {
 public:
  explicit BlockFile(uint64_t size) : bytes_(size, '\0') {}
  [[nodiscard]] WriteRules rules() const override {
    return {.alignment_bytes = kBlockBytes, .written_is_present = true};
  }
  Result<void> Write(std::span<const std::byte> bytes, uint64_t offset) override {
    const MutexLock lock(mutex_);
    if (full_) {
      return ErrnoError(ENOSPC, "pwrite");
    }
    if (offset % kBlockBytes != 0 || bytes.size() % kBlockBytes != 0 ||
        reinterpret_cast<uintptr_t>(bytes.data()) % kBlockBytes != 0 ||
        offset + bytes.size() > bytes_.size()) {
      return Internal("write of {} bytes at {}", bytes.size(), offset);
    }
    for (uint64_t at = offset; at < offset + bytes.size(); at += kBlockBytes) {
      ++writes_[at];
    }
    std::ranges::copy(
        bytes, std::as_writable_bytes(std::span(bytes_)).begin() + static_cast<ptrdiff_t>(offset));
    return Ok();
  }
  Result<void> Sync() override { return Ok(); }
  void SetFull(bool full) {
    const MutexLock lock(mutex_);
    full_ = full;
  }
  [[nodiscard]] std::string bytes() {
    const MutexLock lock(mutex_);
    return bytes_;
  }
  [[nodiscard]] std::vector<uint64_t> Blocks() {
    const MutexLock lock(mutex_);
    std::vector<uint64_t> blocks;
    for (const auto& [block, count] : writes_) {
      EXPECT_EQ(count, 1) << "block at " << block << " was written twice";
      blocks.push_back(block);
    }
    return blocks;
  }

 private:
  Mutex mutex_;
  std::string bytes_ FLOE_GUARDED_BY(mutex_);
  std::map<uint64_t, int> writes_ FLOE_GUARDED_BY(mutex_);
  bool full_ FLOE_GUARDED_BY(mutex_) = false;
};

class SharedBlocksTest : public FillTest {
 protected:
  void StartBlocks(const TestBlob& blob, const std::vector<ByteRange>& present = {}) {
    Start(blob);
    file_ = std::make_shared<BlockFile>(test_blob_.device.size());
    blob_->UseCacheFile(file_, present);
  }
  // Blob: 512 + 10000 | 512 + 4096 | 512 + 1 | 512 + 30000; units of 8192, groups of 4096. Device
  // block 0: groups 0, 1 (unit 0). Block 4096: groups 1 (unit 0) and 2 (unit 1). Block 8192: group
  // 2 (and nothing more: the file ends).
  static TestBlob SmallBlob() { return TestBlob::Make({}); }

  std::shared_ptr<BlockFile> file_;
};

TEST_F(SharedBlocksTest, ABlockOfTwoUnitsIsWrittenOnceWhenBothAreThere) {
  StartBlocks(SmallBlob());
  FLOE_EXPECT_OK(Read({.offset = 0, .length = 4096})->Get());
  EXPECT_THAT(file_->Blocks(), ElementsAre(0U));
  EXPECT_TRUE(blob_->cache().IsPresent({.offset = 0, .length = 4096}));
  EXPECT_FALSE(blob_->cache().IsPresent({.offset = 4096, .length = 1}));
  EXPECT_EQ(client_->requests().size(), 1U);

  // Unit 0 is held, not fetched again.
  FLOE_EXPECT_OK(Read({.offset = 4096, .length = 4096})->Get());
  EXPECT_EQ(client_->requests().size(), 2U);
  EXPECT_TRUE(blob_->cache().IsPresent({.offset = 4096, .length = 4096}));
  EXPECT_EQ(file_->bytes().substr(0, 8192), test_blob_.Bytes({.offset = 0, .length = 8192}));
}

TEST_F(SharedBlocksTest, EveryBlockIsRightAndWrittenOnce) {
  StartBlocks(TestBlob::Make({.file_bytes = {1, 4095, 4096, 4097, 70000, 3, 12288, 100000},
                              .unit_bytes = 12288,
                              .group_bytes = 1536,
                              .seed = 7}));
  // Backwards, so that the later neighbour comes first.
  for (uint64_t at = test_blob_.device.size(); at > 0; at -= kBlockBytes) {
    const ByteRange range{.offset = at - kBlockBytes, .length = kBlockBytes};
    FLOE_ASSERT_OK(Read(range)->Get());
    ASSERT_EQ(file_->bytes().substr(range.offset, range.length), test_blob_.Bytes(range)) << at;
  }
  EXPECT_EQ(file_->Blocks().size(), test_blob_.device.size() / kBlockBytes);
  EXPECT_TRUE(blob_->cache().AllPresent());
}

TEST_F(SharedBlocksTest, ManyReadersAtOnce) {
  StartBlocks(TestBlob::Make(
      {.file_bytes = {300000}, .unit_bytes = 12288, .group_bytes = 3072, .seed = 3}));
  std::vector<std::shared_ptr<Outcome>> readers;
  for (uint64_t at = 0; at < test_blob_.device.size(); at += kBlockBytes) {
    readers.push_back(Read({.offset = at, .length = kBlockBytes}));
  }
  for (const auto& reader : readers) {
    FLOE_EXPECT_OK(reader->Get());
  }
  filler_->Stop();
  EXPECT_EQ(file_->bytes(), test_blob_.device);
  EXPECT_EQ(file_->Blocks().size(), test_blob_.device.size() / kBlockBytes);
}

TEST_F(SharedBlocksTest, ABadGroupKeepsTheSharedBlockUnwritten) {
  StartBlocks(SmallBlob());
  client_->SetScript([this](const FakeRegistryClient::Request& request) {
    std::string bytes = test_blob_.blob.substr(request.range.offset, request.range.length);
    for (uint64_t at = 0; at < bytes.size(); ++at) {
      if (request.range.offset + at >= 8192) {  // Unit 1.
        bytes[at] = static_cast<char>(bytes[at] ^ 1);
      }
    }
    return Result<std::string>(bytes);
  });
  FLOE_EXPECT_ERROR(Read({.offset = 4096, .length = 4096})->Get(), ErrorCode::kDataLoss, "sha256");
  FLOE_EXPECT_OK(Read({.offset = 0, .length = 4096})->Get());  // Unit 0 may come after the failure.
  EXPECT_THAT(file_->Blocks(), ElementsAre(0U));
  client_->SetScript(nullptr);
  FLOE_EXPECT_OK(Read({.offset = 4096, .length = 4096})->Get());
  EXPECT_EQ(file_->bytes().substr(0, 8192), test_blob_.Bytes({.offset = 0, .length = 8192}));
}

TEST_F(SharedBlocksTest, AGroupHeldForABadOneOfItsOwnUnitIsFreedByTheNextFill) {
  StartBlocks(SmallBlob());
  client_->SetScript([this](const FakeRegistryClient::Request& request) {
    std::string bytes = test_blob_.blob.substr(request.range.offset, request.range.length);
    bytes.at(5000) = static_cast<char>(bytes.at(5000) ^ 1);  // Group 1; block 0 is of 0 and 1.
    return Result<std::string>(bytes);
  });
  FLOE_EXPECT_ERROR(Read({.offset = 0, .length = 4096})->Get(), ErrorCode::kDataLoss, "sha256");
  EXPECT_TRUE(blob_->cache().IsGroupHeld(0));
  client_->SetScript(nullptr);
  FLOE_EXPECT_OK(Read({.offset = 0, .length = 4096})->Get());
  EXPECT_TRUE(blob_->cache().IsGroupPresent(0));
  EXPECT_FALSE(blob_->cache().IsGroupHeld(0));
  FLOE_EXPECT_OK(Read({.offset = 0, .length = test_blob_.device.size()})->Get());
  EXPECT_TRUE(blob_->cache().AllPresent());
  EXPECT_EQ(file_->bytes(), test_blob_.device);
  EXPECT_EQ(file_->Blocks().size(), test_blob_.device.size() / kBlockBytes);
}

TEST_F(SharedBlocksTest, AFullDiskLeavesNothingPresentAndTheNextReadSucceeds) {
  StartBlocks(SmallBlob());
  FLOE_EXPECT_OK(Read({.offset = 0, .length = 4096})->Get());
  file_->SetFull(true);
  FLOE_EXPECT_ERROR(Read({.offset = 4096, .length = 8192})->Get(), ErrorCode::kResourceExhausted,
                    "");
  EXPECT_THAT(file_->Blocks(), ElementsAre(0U));
  file_->SetFull(false);
  FLOE_EXPECT_OK(Read({.offset = 4096, .length = 8192})->Get());
  EXPECT_EQ(file_->bytes().substr(0, 12288), test_blob_.Bytes({.offset = 0, .length = 12288}));
  FLOE_EXPECT_OK(Read({.offset = 0, .length = test_blob_.device.size()})->Get());
  EXPECT_TRUE(blob_->cache().AllPresent());
}

TEST_F(SharedBlocksTest, ANewFileStartsWithWhatItHolds) {
  StartBlocks(SmallBlob());
  FLOE_EXPECT_OK(Read({.offset = 0, .length = 8192})->Get());
  const size_t requests = client_->requests().size();
  // Re-opened: blocks 0 and 4096 are there, so group 0 and 1 are; group 2 is not.
  file_ = std::make_shared<BlockFile>(test_blob_.device.size());
  blob_->UseCacheFile(file_, {{.offset = 0, .length = 8192}});
  EXPECT_TRUE(blob_->cache().IsPresent({.offset = 0, .length = 4096}));
  EXPECT_FALSE(blob_->cache().IsPresent({.offset = 8192, .length = 4096}));
  FLOE_EXPECT_OK(Read({.offset = 8192, .length = 4096})->Get());
  EXPECT_EQ(client_->requests().size(), requests + 1);
  EXPECT_EQ(file_->bytes().substr(8192, 4096), test_blob_.Bytes({.offset = 8192, .length = 4096}));
  EXPECT_THAT(file_->Blocks(), ::testing::Not(::testing::Contains(4096U)));
}

TEST_F(SharedBlocksTest, AFillThatTheFileWasTakenFromWritesToTheNewOne) {
  StartBlocks(SmallBlob());
  client_->Hold();
  const auto reader = Read({.offset = 0, .length = 4096});
  client_->WaitForRequests(1);
  const auto old_file = file_;
  file_ = std::make_shared<BlockFile>(test_blob_.device.size());
  blob_->UseCacheFile(file_, {});
  client_->Release();
  FLOE_EXPECT_OK(reader->Get());
  EXPECT_THAT(old_file->Blocks(), IsEmpty());
  EXPECT_EQ(file_->bytes().substr(0, 4096), test_blob_.Bytes({.offset = 0, .length = 4096}));
}

TEST_F(SharedBlocksTest, BlanksAreTheBlocksOfNoFile) {
  // f0 covers 0..1, f1 4096..4097; the device ends behind f1's block.
  StartBlocks(TestBlob::Make({.file_bytes = {1, 1}}));
  const uint64_t end = test_blob_.device.size();
  EXPECT_THAT(blob_->Blanks({.offset = 0, .length = end}), IsEmpty());
  EXPECT_THAT(blob_->Blanks({.offset = 0, .length = end + 8192}),
              ElementsAre(ByteRange{.offset = end, .length = 8192}));
}

}  // namespace
}  // namespace floe::cachemgr::testing
