// RAFS v6 as Nydus's own tools wrote it: what they and the kernel make of the same files.
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "base/file.h"
#include "image/blob_map.h"
#include "image/index_codec.h"
#include "image/rafs/bootstrap_archive.h"
#include "image/rafs/rafs_layer.h"
#include "image/rafs/toc.h"
#include "tests/image/rafs/rafs_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image::rafs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class RafsFixturesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(root_)) {
      GTEST_SKIP() << root_ << " is absent";
    }
  }

  [[nodiscard]] std::string Read(const std::string& name) const {
    auto bytes = ReadFile(root_ / name);
    EXPECT_TRUE(bytes.has_value()) << name;
    return bytes.value_or("");
  }

  const std::filesystem::path root_ = FixtureRoot() / "nydus";
};

constexpr const char* kOldBlob = "be7d77eeb719f70884758d1aa800ed0fb09d701aaec469964e9d54325f0d5fef";

TEST_F(RafsFixturesTest, Builder22SuperblockAndBlob) {
  const std::string bytes = Read("rafs-v6-2.2.boot");
  EXPECT_THAT(Digest::Of(bytes).hex(), StartsWith("6a1ab377"));
  FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap bootstrap, ReadBootstrap(AsBytes(bytes)));
  EXPECT_EQ(bootstrap.superblock.root_nid, 128U);
  EXPECT_EQ(bootstrap.superblock.inode_count, 3U);
  EXPECT_EQ(bootstrap.superblock.metadata_offset, 2 * 4096U);
  EXPECT_EQ(bootstrap.superblock.chunk_table, (ByteRange{0x4000, 160}));
  EXPECT_TRUE(bootstrap.superblock.prefetch_table.empty());
  ASSERT_EQ(bootstrap.blobs.size(), 1U);
  const Blob& blob = bootstrap.blobs.front();
  EXPECT_EQ(blob.digest.hex(), kOldBlob);
  EXPECT_EQ(blob.compressor, Compressor::kZstd);
  EXPECT_EQ(blob.digest_kind, DigestKind::kBlake3);
  EXPECT_EQ(blob.features, 0x70000021U);
  EXPECT_EQ(blob.compressed_bytes, 14554U);
  EXPECT_EQ(blob.uncompressed_bytes, 36864U);
  EXPECT_EQ(blob.chunk_info, (ByteRange{8314, 32}));
  EXPECT_EQ(blob.DataEnd(), 7802U);
}

TEST_F(RafsFixturesTest, Builder22FilesDecode) {
  const std::string bytes = Read("rafs-v6-2.2.boot");
  FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap bootstrap, ReadBootstrap(AsBytes(bytes)));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto sources, SourcesIn(root_, bootstrap));
  FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer,
                            ReadRafsLayer(AsBytes(bytes), bootstrap, sources));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto devices,
                            FillDevices(layer.index, layer.windows, BlobsIn(root_)));
  const Inode* lib = FindPath(layer.index, "lib.rs");
  ASSERT_NE(lib, nullptr);
  EXPECT_EQ(lib->size_bytes, 16931U);
  EXPECT_THAT(Digest::Of(ReadFileOf(layer.index, *lib, devices)).hex(), StartsWith("1810eba8"));
  const Inode* sync_io = FindPath(layer.index, "sync_io.rs");
  ASSERT_NE(sync_io, nullptr);
  EXPECT_EQ(sync_io->size_bytes, 13400U);
  EXPECT_THAT(Digest::Of(ReadFileOf(layer.index, *sync_io, devices)).hex(), StartsWith("e629ab26"));
}

TEST_F(RafsFixturesTest, Builder22ChunkInformation) {
  const std::string bytes = Read("rafs-v6-2.2.boot");
  FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap bootstrap, ReadBootstrap(AsBytes(bytes)));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto sources, SourcesIn(root_, bootstrap));
  const std::vector<ChunkInfoEntry>& entries = sources.front().chunk_info->entries;
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[0].compressed_bytes, 4828U);
  EXPECT_EQ(entries[0].uncompressed_bytes, 16931U);
  EXPECT_EQ(entries[1].compressed_offset, 4828U);
  EXPECT_EQ(entries[1].compressed_bytes, 2974U);
  EXPECT_EQ(entries[1].uncompressed_offset, 20480U);
  EXPECT_EQ(entries[1].uncompressed_bytes, 13400U);
  EXPECT_EQ(entries[1].flags, kInfoCompressed);
}

TEST_F(RafsFixturesTest, TableOfContents) {
  const std::string blob = Read("2fa78cad554b75ac91a4a125ed148d0ddeb25efa4aaa8bd80e5dc292690a4dca");
  FLOE_ASSERT_OK_AND_ASSIGN(const Toc toc, ReadToc(AsBytes(blob), blob.size()));
  EXPECT_THAT(toc.digest.hex(), StartsWith("4fdfbb36"));
  EXPECT_EQ(toc.bytes, 1024U);
  ASSERT_EQ(toc.entries.size(), 4U);
  EXPECT_EQ(toc.entries[1].name, "blob.meta");
  EXPECT_EQ(toc.entries[1].uncompressed_bytes, 48U);
  EXPECT_EQ(toc.entries[2].name, "blob.meta.header");
  EXPECT_EQ(toc.entries[3].name, "image.boot");
  EXPECT_EQ(toc.entries[3].compression, TocCompression::kZstd);
  EXPECT_EQ(toc.entries[3].compressed, (ByteRange{7997, 501}));
  EXPECT_EQ(toc.entries[3].uncompressed_bytes, 20480U);
  // Its bootstrap and chunk information are what the table says.
  const TocEntry& boot = toc.entries[3];
  const Unit unit{.blob = 0,
                  .range = boot.compressed,
                  .decoded_length = boot.uncompressed_bytes,
                  .codec = Codec::kZstd,
                  .bits = 0,
                  .window = {}};
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string bootstrap, DecodeUnit(unit, blob, ""));
  EXPECT_EQ(Digest::Of(bootstrap).bytes(), boot.digest);
  const ByteRange header = toc.entries[2].compressed;
  FLOE_ASSERT_OK_AND_ASSIGN(const ChunkInfoHeader read, ReadChunkInfoHeader(AsBytes(blob).subspan(
                                                            header.offset, header.length)));
  EXPECT_EQ(read.entry_count, 3U);
}

TEST_F(RafsFixturesTest, TableOfContentsOfBuilder22) {
  const std::string blob = Read(kOldBlob);
  FLOE_ASSERT_OK_AND_ASSIGN(const Toc toc, ReadToc(AsBytes(blob).last(1024), blob.size()));
  EXPECT_THAT(toc.digest.hex(), StartsWith("cfc89ed0739aef4e"));
  EXPECT_EQ(toc.entries.back().name, "blob.digest");
}

TEST_F(RafsFixturesTest, UbuntuBootstrapWithoutItsBlob) {
  const std::string layer_bytes = Read("v6-ubuntu-bootstrap-layer.tar.gz");
  FLOE_ASSERT_OK_AND_ASSIGN(const BootstrapArchive archive,
                            BootstrapArchive::Read(AsBytes(layer_bytes), 1U << 30U));
  FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap bootstrap, ReadBootstrap(archive.bootstrap()));
  ASSERT_EQ(bootstrap.blobs.size(), 1U);
  const Blob& blob = bootstrap.blobs.front();
  EXPECT_EQ(blob.compressed_bytes, 43090887U);
  EXPECT_EQ(blob.chunk_info, (ByteRange{43090887, 35949}));
  EXPECT_EQ(blob.chunk_info_bytes, 40240U);
  const std::vector<BlobSource> sources = {
      {.size_bytes = blob.ChunkInfoRange().end(), .media_type = "", .chunk_info = {}}};
  FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer,
                            ReadRafsLayer(archive.bootstrap(), bootstrap, sources));
  const LayerIndexData& data = layer.index.data();
  EXPECT_EQ(data.inodes.size(), 3517U);
  EXPECT_EQ(std::ranges::count_if(data.inodes, [](const Inode& i) { return S_ISDIR(i.mode); }),
            678);
  EXPECT_EQ(std::ranges::count_if(data.inodes, [](const Inode& i) { return S_ISLNK(i.mode); }),
            212);
  EXPECT_EQ(data.groups.size(), 2515U);
  EXPECT_EQ(data.units.size(), 2515U);
  EXPECT_EQ(data.blobs.front().device_size_bytes, 83767296U);
  EXPECT_TRUE(data.prefetch.empty());  // It lists /bin, which is a symlink.
}

TEST_F(RafsFixturesTest, RefusesWithAReason) {
  EXPECT_EQ(ReadBootstrap(AsBytes(Read("refused-encrypted.boot"))).error().ToString(),
            "UNIMPLEMENTED: encrypted blobs (AES-128-XTS) are not supported");
  EXPECT_EQ(ReadBootstrap(AsBytes(Read("refused-v5.boot"))).error().ToString(),
            "UNIMPLEMENTED: RAFS v5 is not supported, only v6");
  EXPECT_EQ(ReadBootstrap(AsBytes(Read("refused-tarfs.boot"))).error().ToString(),
            "UNIMPLEMENTED: RAFS in tarfs mode is not supported");
}

TEST_F(RafsFixturesTest, Sha256Lz4Batches) {
  const std::filesystem::path directory = root_ / "sha256-lz4-batch";
  const std::string bytes = Read("sha256-lz4-batch/image.boot");
  FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap bootstrap, ReadBootstrap(AsBytes(bytes)));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto sources, SourcesIn(directory, bootstrap));
  FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer,
                            ReadRafsLayer(AsBytes(bytes), bootstrap, sources));
  EXPECT_EQ(layer.index.data().groups.front().digest_kind, DigestKind::kSha256);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto devices,
                            FillDevices(layer.index, layer.windows, BlobsIn(directory)));
  EXPECT_THAT(CompareWithCorpus(layer.index, devices),
              ElementsAre(HasSubstr("xattrs/trusted"), HasSubstr("xattrs/trusted")));
}

TEST_F(RafsFixturesTest, SurvivesTheIndexCodec) {
  const std::string bytes = Read("sha256-lz4-batch/image.boot");
  FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap bootstrap, ReadBootstrap(AsBytes(bytes)));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto sources, SourcesIn(root_ / "sha256-lz4-batch", bootstrap));
  FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer,
                            ReadRafsLayer(AsBytes(bytes), bootstrap, sources));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string encoded, EncodeLayerIndex(layer.index));
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex decoded, DecodeLayerIndex(encoded));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string again, EncodeLayerIndex(decoded));
  EXPECT_TRUE(again == encoded);
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(EncodeBlobMap(decoded, i) == EncodeBlobMap(layer.index, i));
  }
}

}  // namespace
}  // namespace floe::image::rafs
