// Images with a few bytes changed. With the digest as it was each of them is refused; with the
// digest computed anew (a liar pushed it) the reader refuses it or makes an index that holds.
#include <sys/stat.h>

#include <chrono>
#include <cstdio>
#include <map>
#include <random>

#include <gtest/gtest.h>

#include "erofs/native_reader.h"
#include "tests/erofs/native_support.h"
#include "tests/erofs/tiny_image.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::erofs::testing {
namespace {

constexpr uint32_t kSeed = 20'240'601;
constexpr int kMutationsOfAStructure = 250;
constexpr std::chrono::seconds kLongest{1};  // For each structure.

using Spots = std::map<std::string, std::vector<ByteRange>>;

/// Where an image has which structures.
class Survey {
 public:
  Survey(const NativeReader& reader, Spots& spots) : reader_(reader), spots_(spots) {}

  Result<void> Run() {
    Add("superblock", {kSuperOffset, sizeof(SuperBlock)});
    std::vector<uint64_t> todo = {reader_.root_nid()};
    while (!todo.empty()) {
      FLOE_ASSIGN_OR_RETURN(const NativeInode inode, reader_.ReadInode(todo.back()));
      todo.pop_back();
      AddInode(inode);
      for (uint64_t block = 0; S_ISDIR(inode.mode) && block < reader_.DirectoryBlocks(inode);
           ++block) {
        std::vector<NativeDirent> dirents;
        FLOE_RETURN_IF_ERROR(reader_.ReadDirectoryBlock(inode, block, dirents));
        for (const NativeDirent& dirent : dirents) {
          if (dirent.name != "." && dirent.name != "..") {
            todo.push_back(dirent.nid);
          }
        }
      }
    }
    return Ok();
  }

 private:
  void Add(const char* structure, ByteRange range) {
    if (!range.empty()) {
      spots_[structure].push_back(range);
    }
  }

  void AddInode(const NativeInode& inode) {
    const ByteRange head = reader_.HeadOf(inode);
    const uint64_t fixed = inode.inode_bytes + inode.xattr_bytes;
    Add("inodes", {inode.offset, inode.inode_bytes});
    Add("xattrs", {inode.offset + inode.inode_bytes, inode.xattr_bytes});
    const ByteRange rest{inode.offset + fixed, head.length - fixed};
    if (inode.layout == DataLayout::kChunkBased) {
      Add("chunk maps", rest);
    } else {
      Add(S_ISDIR(inode.mode) ? "dirents" : "tails and targets", rest);
    }
    if (S_ISDIR(inode.mode) && inode.layout == DataLayout::kFlatPlain) {
      Add("dirents", {reader_.BlocksOf(inode).offset, inode.size_bytes});
    } else {
      Add(S_ISDIR(inode.mode) ? "dirents" : "tails and targets", reader_.BlocksOf(inode));
    }
  }

  const NativeReader& reader_;
  Spots& spots_;
};

class Mutator {
 public:
  Mutator(const std::string& image, uint32_t seed) : image_(image), random_(seed) {}

  std::string Mutate(const std::vector<ByteRange>& spots) {
    std::string bytes = image_;
    const ByteRange spot = spots[Below(spots.size())];
    for (uint64_t change = 0; change <= Below(3); ++change) {
      Change(bytes, spot);
    }
    if (Below(8) != 0) {
      FixChecksum(bytes);
    }
    return bytes;
  }

 private:
  uint64_t Below(uint64_t limit) {
    return std::uniform_int_distribution<uint64_t>(0, limit - 1)(random_);
  }

  void Change(std::string& bytes, ByteRange spot) {
    const uint64_t at = spot.offset + Below(spot.length);
    if (at >= bytes.size()) {
      return;  // It was truncated before.
    }
    switch (Below(6)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << Below(8)));
        break;
      case 1:
        bytes[at] = static_cast<char>(Below(256));
        break;
      case 2:  // A length or a number at its end.
        bytes.replace(at, std::min<uint64_t>(4, bytes.size() - at), 4,
                      static_cast<char>(Below(2) == 0 ? 0 : 0xFF));
        break;
      case 3:
        Swap(bytes, spot);
        break;
      case 4:
        bytes.resize(Below(bytes.size()));
        break;
      case 5:
        bytes.insert(at, std::string(1 + Below(64), static_cast<char>(Below(256))));
        break;
    }
  }

  void Swap(std::string& bytes, ByteRange spot) {
    const uint64_t width = std::min<uint64_t>(spot.length, uint64_t{2} << Below(5));
    const uint64_t a = spot.offset + Below(spot.length - width + 1);
    const uint64_t b = spot.offset + Below(spot.length - width + 1);
    if (std::max(a, b) + width <= bytes.size()) {
      const std::string kept = bytes.substr(a, width);
      bytes.replace(a, width, bytes.substr(b, width));
      bytes.replace(b, width, kept);
    }
  }

  static void FixChecksum(std::string& bytes) {
    if (bytes.size() >= kBlockBytes) {
      StoreAt(bytes.data(), kSuperOffset + offsetof(SuperBlock, checksum),
              SuperBlockChecksum(bytes));
    }
  }

  const std::string& image_;
  std::mt19937 random_;
};

struct Counts {
  int unchanged = 0, refused = 0, taken = 0;
};

void Try(const std::string& image, const std::string& mutated, Counts& counts) {
  if (mutated == image) {
    ++counts.unchanged;
    return;
  }
  ASSERT_FALSE(IndexNative(mutated, NativeSourceOf(image)).has_value());
  const auto indexed = IndexNative(mutated, NativeSourceOf(mutated));
  if (!indexed) {
    EXPECT_NE(indexed.error().code, ErrorCode::kInternal) << indexed.error().ToString();
    EXPECT_EQ(indexed.error().message.find('\n'), std::string::npos);
    ++counts.refused;
    return;
  }
  ++counts.taken;
  FLOE_ASSERT_OK(TreeOfLayer(*indexed, mutated));
}

void MutateEverything(const std::string& image) {
  MemoryImage memory(image);
  Spots spots;
  FLOE_ASSERT_OK_AND_ASSIGN(const NativeReader reader, NativeReader::Open(memory));
  FLOE_ASSERT_OK(Survey(reader, spots).Run());
  std::printf("seed %u, image of %zu bytes\n", kSeed, image.size());
  Mutator mutator(image, kSeed);
  for (const auto& [structure, ranges] : spots) {
    Counts counts;
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kMutationsOfAStructure; ++i) {
      if (std::chrono::steady_clock::now() - start > kLongest) {
        break;
      }
      Try(image, mutator.Mutate(ranges), counts);
      if (::testing::Test::HasFatalFailure()) {
        FAIL() << structure << ", mutation " << i;
      }
    }
    std::printf("%-18s %4zu places: %d unchanged, %d refused, %d read\n", structure.c_str(),
                ranges.size(), counts.unchanged, counts.refused, counts.taken);
    EXPECT_GT(counts.refused, 0) << structure;
  }
}

TEST(NativeMutationTest, ATinyImage) { MutateEverything(SampleTinyImage()); }

TEST(NativeMutationTest, ImagesOfMkfs) {
  if (!HaveMkfs()) {
    GTEST_SKIP() << "no mkfs.erofs (erofs-utils)";
  }
  const floe::testing::TempDir source;
  std::filesystem::create_directories(source / "dir" / "inner");
  for (int i = 0; i < 60; ++i) {
    WriteText(source / "dir" / ("name-" + std::to_string(i) + std::string(60, 'n')),
              std::to_string(i));
  }
  WriteText(source / "file", std::string(30'000, 'f'));
  SetXattr(source / "file", "user.one", "1");
  SetXattr(source / "dir", "user.two", std::string(300, '2'));
  std::filesystem::create_symlink("dir/inner", source / "link");
  for (const char* options : {"", "--chunksize=4096", "-Eforce-inode-compact"}) {
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string image, MakeImage(source.path(), options));
    std::printf("mkfs.erofs %s: ", options);
    MutateEverything(image);
  }
}

}  // namespace
}  // namespace floe::erofs::testing
