#include "base/blake3.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace floe {
namespace {

// The numbers of the specification: sections 2.1 (constants), 2.2 (compression), 2.4 (chunks), 2.5
// (parents), 2.6 (the root).
constexpr size_t kBlockBytes = 64;
constexpr size_t kChunkBytes = 1024;
constexpr size_t kWords = 8;
constexpr int kRounds = 7;
constexpr uint32_t kChunkStart = 1, kChunkEnd = 2, kParent = 4, kRoot = 8;

using ChainingValue = std::array<uint32_t, kWords>;
using BlockWords = std::array<uint32_t, 2 * kWords>;

constexpr ChainingValue kIv = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                               0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};
constexpr std::array<uint8_t, 2 * kWords> kPermutation = {2, 6,  3,  10, 7, 0,  4,  13,
                                                          1, 11, 12, 5,  9, 14, 15, 8};

// The order in which each round takes the message words.
constexpr auto MakeSchedule() {
  std::array<std::array<uint8_t, 2 * kWords>, kRounds> schedule{};
  for (size_t i = 0; i < schedule[0].size(); ++i) {
    schedule[0][i] = static_cast<uint8_t>(i);
  }
  for (size_t round = 1; round < schedule.size(); ++round) {
    for (size_t i = 0; i < kPermutation.size(); ++i) {
      schedule[round][i] = schedule[round - 1][kPermutation[i]];
    }
  }
  return schedule;
}
constexpr auto kSchedule = MakeSchedule();

using State = std::array<uint32_t, 2 * kWords>;

void Mix(State& v, size_t a, size_t b, size_t c, size_t d, uint32_t x, uint32_t y) {
  v[a] += v[b] + x;
  v[d] = std::rotr(v[d] ^ v[a], 16);
  v[c] += v[d];
  v[b] = std::rotr(v[b] ^ v[c], 12);
  v[a] += v[b] + y;
  v[d] = std::rotr(v[d] ^ v[a], 8);
  v[c] += v[d];
  v[b] = std::rotr(v[b] ^ v[c], 7);
}

/// A compression that has not been run yet: the last one of a tree gets the root's flag.
struct Node {
  ChainingValue input = kIv;
  BlockWords block{};
  uint64_t counter = 0;
  uint32_t block_bytes = kBlockBytes;
  uint32_t flags = 0;

  [[nodiscard]] ChainingValue Compress(uint32_t more_flags = 0) const {
    State v = {input[0],
               input[1],
               input[2],
               input[3],
               input[4],
               input[5],
               input[6],
               input[7],
               kIv[0],
               kIv[1],
               kIv[2],
               kIv[3],
               static_cast<uint32_t>(counter),
               static_cast<uint32_t>(counter >> 32U),
               block_bytes,
               flags | more_flags};
    for (const auto& s : kSchedule) {
      Mix(v, 0, 4, 8, 12, block[s[0]], block[s[1]]);
      Mix(v, 1, 5, 9, 13, block[s[2]], block[s[3]]);
      Mix(v, 2, 6, 10, 14, block[s[4]], block[s[5]]);
      Mix(v, 3, 7, 11, 15, block[s[6]], block[s[7]]);
      Mix(v, 0, 5, 10, 15, block[s[8]], block[s[9]]);
      Mix(v, 1, 6, 11, 12, block[s[10]], block[s[11]]);
      Mix(v, 2, 7, 8, 13, block[s[12]], block[s[13]]);
      Mix(v, 3, 4, 9, 14, block[s[14]], block[s[15]]);
    }
    ChainingValue out;
    for (size_t i = 0; i < kWords; ++i) {
      out[i] = v[i] ^ v[i + kWords];
    }
    return out;
  }
};

BlockWords LoadBlock(std::span<const std::byte> bytes) {
  static_assert(std::endian::native == std::endian::little, "Floe runs on little-endian machines");
  BlockWords words{};
  if (!bytes.empty()) {
    std::memcpy(words.data(), bytes.data(), bytes.size());
  }
  return words;
}

// At most kChunkBytes.
Node ChunkNode(std::span<const std::byte> bytes, uint64_t counter) {
  Node node;
  node.counter = counter;
  node.flags = kChunkStart;
  while (bytes.size() > kBlockBytes) {
    node.block = LoadBlock(bytes.first(kBlockBytes));
    node.input = node.Compress();
    node.flags = 0;
    bytes = bytes.subspan(kBlockBytes);
  }
  node.block = LoadBlock(bytes);
  node.block_bytes = static_cast<uint32_t>(bytes.size());
  node.flags |= kChunkEnd;
  return node;
}

// The left subtree is the largest complete one that leaves something for the right one.
Node TreeNode(std::span<const std::byte> bytes, uint64_t first_chunk) {
  if (bytes.size() <= kChunkBytes) {
    return ChunkNode(bytes, first_chunk);
  }
  const size_t left_chunks = std::bit_floor((bytes.size() - 1) / kChunkBytes);
  const size_t left_bytes = left_chunks * kChunkBytes;
  const ChainingValue left = TreeNode(bytes.first(left_bytes), first_chunk).Compress();
  const ChainingValue right =
      TreeNode(bytes.subspan(left_bytes), first_chunk + left_chunks).Compress();
  Node node;
  std::ranges::copy(left, node.block.begin());
  std::ranges::copy(right, node.block.begin() + kWords);
  node.flags = kParent;
  return node;
}

}  // namespace

std::array<uint8_t, 32> Blake3(std::span<const std::byte> bytes) {
  const ChainingValue words = TreeNode(bytes, 0).Compress(kRoot);
  std::array<uint8_t, 32> out{};
  std::memcpy(out.data(), words.data(), out.size());
  return out;
}

}  // namespace floe
