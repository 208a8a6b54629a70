// Look-ups in the zran chunk information of a real image, as Nydus answers them.
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "base/file.h"
#include "image/rafs/chunk_info.h"
#include "tests/image/rafs/rafs_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image::rafs {
namespace {

constexpr const char* kFile =
    "nydus/233c72f2b6b698c07021c4da367cfe2dff4f049efbaa885ca0ff760ea297865a.blob.meta";

class ZranTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::filesystem::path path = FixtureRoot() / kFile;
    if (!std::filesystem::exists(path)) {
      GTEST_SKIP() << path << " is absent";
    }
    FLOE_ASSERT_OK_AND_ASSIGN(file_, ReadFile(path));
    FLOE_ASSERT_OK_AND_ASSIGN(header_,
                              ReadChunkInfoHeader(AsBytes(file_).last(kChunkInfoHeaderBytes)));
    FLOE_ASSERT_OK_AND_ASSIGN(info_, ReadChunkInfo(header_, AsBytes(file_)));
  }

  /// The chunks that Nydus fetches for what begins in chunk `first` and ends at `end`: whole
  /// contexts from that chunk's on, until the end is passed and `batch_bytes` of the blob are
  /// there.
  size_t CountFetched(size_t first, uint64_t end, uint64_t batch_bytes, bool compressed) const {
    const uint32_t context = info_.entries[first].context;
    while (first > 0 && info_.entries[first - 1].context == context) {
      --first;
    }
    uint32_t last = context;
    size_t at = first;
    for (; at < info_.entries.size(); ++at) {
      const ChunkInfoEntry& entry = info_.entries[at];
      if (entry.context != last) {
        const uint64_t bytes =
            info_.contexts[entry.context].in.end() - info_.contexts[context].in.offset;
        const uint64_t start = compressed ? entry.compressed_offset : entry.uncompressed_offset;
        if (bytes > batch_bytes && start > end) {
          break;
        }
        last = entry.context;
      }
    }
    return at - first;
  }

  size_t CountUncompressed(ByteRange range, uint64_t batch_bytes) const {
    const auto after = std::ranges::upper_bound(info_.entries, range.offset, {},
                                                &ChunkInfoEntry::uncompressed_offset);
    const auto first = static_cast<size_t>(after - info_.entries.begin()) - 1;
    return CountFetched(first, range.end(), batch_bytes, false);
  }

  size_t CountCompressed(ByteRange range, uint64_t batch_bytes) const {
    const auto after = std::ranges::upper_bound(info_.entries, range.offset, {},
                                                &ChunkInfoEntry::compressed_offset);
    const auto first = static_cast<size_t>(after - info_.entries.begin()) - 1;
    return CountFetched(first, range.end(), batch_bytes, true);
  }

  std::string file_;
  ChunkInfoHeader header_;
  ChunkInfo info_;
};

TEST_F(ZranTest, Header) {
  EXPECT_EQ(header_.features, 0xFU);
  EXPECT_EQ(header_.entry_count, 163U);
  EXPECT_EQ(header_.bytes, 660112U);
  EXPECT_EQ(header_.contexts.offset, 3912U);
  EXPECT_EQ(header_.context_count, 21U);
}

TEST_F(ZranTest, EntriesAndContexts) {
  const ChunkInfoEntry& first = info_.entries.front();
  EXPECT_EQ(first.compressed_offset, 0xb8U);
  EXPECT_EQ(first.compressed_bytes, 0x289U);
  EXPECT_EQ(first.uncompressed_offset, 0U);
  EXPECT_EQ(first.uncompressed_bytes, 0x57cU);
  EXPECT_EQ(first.context, 0U);
  EXPECT_EQ(first.in_context, 0x400U);
  EXPECT_EQ(info_.entries.back().uncompressed_offset, 0x16c5000U);
  EXPECT_EQ(info_.entries.back().uncompressed_bytes, 0x16cU);
  const ZranContext& context = info_.contexts[1];
  EXPECT_EQ(context.in, (ByteRange{187761, 592813}));
  EXPECT_EQ(context.out, (ByteRange{987149, 1801715}));
  EXPECT_EQ(context.dictionary.length, 32768U);
  EXPECT_EQ(context.byte, 103);
  EXPECT_EQ(context.bits, 5);
}

TEST_F(ZranTest, LookUps) {
  EXPECT_EQ(CountUncompressed({0, 1}, 0x30000), 67U);
  EXPECT_EQ(CountUncompressed({0x112000, 0x10000}, 1U << 20U), 116U);
  EXPECT_EQ(CountCompressed({0xb8, 1}, 2U << 20U), 120U);
}

TEST_F(ZranTest, CutOffRegion) {
  FLOE_EXPECT_ERROR(ReadChunkInfo(header_, AsBytes(file_).first(header_.bytes - 1)),
                    ErrorCode::kDataLoss, "660111 bytes of 660112");
}

}  // namespace
}  // namespace floe::image::rafs
