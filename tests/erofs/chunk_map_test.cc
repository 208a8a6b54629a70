#include "erofs/chunk_map.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace floe::erofs::testing {
namespace {

using ::testing::ElementsAre;

constexpr uint64_t kBlock = 4096;

/// "1:5" is block 5 of device 1, "-" a hole.
std::vector<std::string> Chunks(uint64_t size, const std::vector<image::Segment>& segments,
                                uint8_t& bits) {
  const ChunkShape shape = ShapeOf(size, segments);
  const std::vector<uint16_t> devices = {1, 2};
  std::string bytes(shape.count * sizeof(ChunkIndex), '\0');
  StoreChunks(shape, segments, devices, bytes.data());
  std::vector<std::string> chunks;
  for (uint64_t i = 0; i < shape.count; ++i) {
    const auto index = LoadAt<ChunkIndex>(bytes, i * sizeof(ChunkIndex));
    chunks.push_back(index.start_block == kNoBlock
                         ? "-"
                         : std::to_string(index.device) + ":" + std::to_string(index.start_block));
  }
  bits = shape.bits;
  return chunks;
}

class ChunkMapTest : public ::testing::Test {
 protected:
  uint8_t bits_ = 0;
};

TEST_F(ChunkMapTest, EmptyFileHasNoChunks) { EXPECT_THAT(Chunks(0, {}, bits_), ElementsAre()); }

TEST_F(ChunkMapTest, OnePieceIsOneChunk) {
  EXPECT_THAT(Chunks(1, {{0, 1, 0, 7 * kBlock}}, bits_), ElementsAre("1:7"));
  EXPECT_EQ(bits_, 0);
  EXPECT_THAT(Chunks(kBlock, {{0, kBlock, 0, 0}}, bits_), ElementsAre("1:0"));
  EXPECT_EQ(bits_, 0);
  EXPECT_THAT(Chunks(kBlock + 1, {{0, kBlock + 1, 1, kBlock}}, bits_), ElementsAre("2:1"));
  EXPECT_EQ(bits_, 1);
  EXPECT_THAT(Chunks(5 * kBlock, {{0, 5 * kBlock, 0, 0}}, bits_), ElementsAre("1:0"));
  EXPECT_EQ(bits_, 3);
}

TEST_F(ChunkMapTest, LargestFileIsOneChunk) {
  constexpr uint64_t kSize = image::kMaxFileBytes;
  EXPECT_THAT(Chunks(kSize, {{0, kSize, 0, 0}}, bits_), ElementsAre("1:0"));
  EXPECT_EQ(bits_, 31);
}

TEST_F(ChunkMapTest, FileOfNothingButHolesIsOneHole) {
  EXPECT_THAT(Chunks(100 * kBlock, {}, bits_), ElementsAre("-"));
}

TEST_F(ChunkMapTest, NeighboursThatContinueAreOnePiece) {
  const std::vector<image::Segment> segments = {{0, kBlock, 0, 4 * kBlock},
                                                {kBlock, 2 * kBlock, 0, 5 * kBlock}};
  EXPECT_THAT(Chunks(3 * kBlock, segments, bits_), ElementsAre("1:4"));
}

TEST_F(ChunkMapTest, NeighboursOfTwoDevicesAreTwoChunks) {
  const std::vector<image::Segment> segments = {{0, 2 * kBlock, 0, 4 * kBlock},
                                                {2 * kBlock, kBlock + 9, 1, 6 * kBlock}};
  EXPECT_THAT(Chunks(3 * kBlock + 9, segments, bits_), ElementsAre("1:4", "2:6"));
  EXPECT_EQ(bits_, 1);
}

TEST_F(ChunkMapTest, ChunksAreAsLargeAsTheOddestBreakAllows) {
  // |hole 4|piece 2|hole 6|piece 1|
  const std::vector<image::Segment> segments = {{4 * kBlock, 2 * kBlock, 0, 0},
                                                {12 * kBlock, 100, 0, 2 * kBlock}};
  EXPECT_THAT(Chunks(12 * kBlock + 100, segments, bits_),
              ElementsAre("-", "-", "1:0", "-", "-", "-", "1:2"));
  EXPECT_EQ(bits_, 1);
}

TEST_F(ChunkMapTest, TrailingHoleAfterAPartialBlock) {
  EXPECT_THAT(Chunks(8 * kBlock, {{0, 5000, 0, 0}}, bits_), ElementsAre("1:0", "-", "-", "-"));
  EXPECT_EQ(bits_, 1);
}

TEST_F(ChunkMapTest, LaterChunksOfAPieceCountOn) {
  const std::vector<image::Segment> segments = {{kBlock, 3 * kBlock, 0, 10 * kBlock}};
  EXPECT_THAT(Chunks(4 * kBlock, segments, bits_), ElementsAre("-", "1:10", "1:11", "1:12"));
}

}  // namespace
}  // namespace floe::erofs::testing
