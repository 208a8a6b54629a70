// The layers of fixtures/images/oci and oci-edge, which containerd unpacked for the
// expected-*.jsonl files: each layer's own tree, and that what is visible in the end is right where
// it comes from.
#include <sys/stat.h>

#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "image/blob_map.h"
#include "image/index_codec.h"
#include "tests/image/layer_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

const std::filesystem::path kFixtures = FLOE_SOURCE_DIR "/../shared/fixtures";

struct Layer {
  IndexedLayer indexed;
  std::string device;
};

/// The layers of an OCI layout with one image, bottom first.
Result<std::vector<Layer>> IndexImage(const std::filesystem::path& layout,
                                      const IndexerOptions& options) {
  const auto read_blob = [&](const nlohmann::json& digest) {
    return ReadFile(layout / "blobs/sha256" / digest.get<std::string>().substr(7));
  };
  FLOE_ASSIGN_OR_RETURN(const std::string index, ReadFile(layout / "index.json"));
  FLOE_ASSIGN_OR_RETURN(const std::string manifest_text,
                        read_blob(nlohmann::json::parse(index)["manifests"][0]["digest"]));
  const auto manifest = nlohmann::json::parse(manifest_text);
  FLOE_ASSIGN_OR_RETURN(const std::string config, read_blob(manifest["config"]["digest"]));
  const auto diff_ids = nlohmann::json::parse(config)["rootfs"]["diff_ids"];
  std::vector<Layer> layers;
  for (const auto& descriptor : manifest["layers"]) {
    FLOE_ASSIGN_OR_RETURN(const std::string blob, read_blob(descriptor["digest"]));
    LayerSource source;
    FLOE_ASSIGN_OR_RETURN(source.digest, Digest::Parse(descriptor["digest"].get<std::string>()));
    source.size_bytes = descriptor["size"];
    source.media_type = descriptor["mediaType"];
    FLOE_ASSIGN_OR_RETURN(source.diff_id,
                          Digest::Parse(diff_ids[layers.size()].get<std::string>()));
    FLOE_ASSIGN_OR_RETURN(IndexedLayer indexed, IndexBlob(blob, source, options));
    FLOE_ASSIGN_OR_RETURN(std::string device, FillDevice(indexed, blob));
    layers.push_back({.indexed = std::move(indexed), .device = std::move(device)});
  }
  return layers;
}

enum class Found { kNothing, kWhiteout, kInode };

/// Like FindInode, but tells a whiteout on the way from an absence.
Found Lookup(const LayerIndex& index, std::string_view path, const Inode*& inode) {
  inode = &index.root();
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), name.size() + 1));
    const Dirent* match = nullptr;
    for (const Dirent& dirent : index.children(*inode)) {
      match = index.str(dirent.name) == name ? &dirent : match;
    }
    if (match == nullptr) {
      return (inode->flags & kInodeOpaque) != 0 ? Found::kWhiteout : Found::kNothing;
    }
    if (match->inode == kWhiteoutInode) {
      return Found::kWhiteout;
    }
    inode = &index.data().inodes[match->inode];
    if (!path.empty() && !S_ISDIR(inode->mode)) {
      return Found::kWhiteout;
    }
  }
  return Found::kInode;
}

/// The topmost layer's inode that says something about `path`; nullptr: only implied ones do.
const Inode* Visible(const std::vector<Layer>& layers, std::string_view path, const Layer*& from) {
  bool is_implied = false;
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    const Inode* inode = nullptr;
    const Found found = Lookup(layer->indexed.index, path, inode);
    from = &*layer;
    if (found == Found::kWhiteout) {
      return nullptr;
    }
    if (found == Found::kInode && (inode->flags & kInodeImplied) == 0) {
      return is_implied && !S_ISDIR(inode->mode) ? nullptr : inode;  // Replaced by a directory.
    }
    is_implied = is_implied || found == Found::kInode;
  }
  return nullptr;
}

std::string XattrsAsJson(const LayerIndex& index, const Inode& inode) {
  nlohmann::json all = nlohmann::json::object();
  for (const Xattr& xattr : index.xattrs(inode)) {
    const std::string_view value = index.str(xattr.value);
    all[std::string(index.str(xattr.name))] =
        HexEncode({reinterpret_cast<const uint8_t*>(value.data()), value.size()});
  }
  return all.dump();
}

void ExpectRow(const nlohmann::json& row, const std::vector<Layer>& layers) {
  const std::string path = row["path"] == "." ? "" : row["path"].get<std::string>();
  const Layer* layer = nullptr;
  const Inode* inode = Visible(layers, path, layer);
  if (inode == nullptr) {  // Implied everywhere.
    EXPECT_EQ(row["type"], S_IFDIR);
    EXPECT_EQ(row["mode"], 0755);
    EXPECT_EQ(row["uid"], 0);
    return;
  }
  const LayerIndex& index = layer->indexed.index;
  EXPECT_EQ(row["type"], inode->mode & S_IFMT);
  EXPECT_EQ(row["mode"], inode->mode & 07777U);
  EXPECT_EQ(row["uid"], inode->uid);
  EXPECT_EQ(row["gid"], inode->gid);
  EXPECT_EQ(row.value("xattrs", nlohmann::json::object()).dump(), XattrsAsJson(index, *inode));
  if (!S_ISDIR(inode->mode)) {
    EXPECT_EQ(row["mtime"], inode->mtime_seconds);
  }
  if (S_ISLNK(inode->mode)) {
    EXPECT_EQ(row["target"], index.str(inode->target));
  }
  if (row.contains("rdev")) {
    EXPECT_EQ(row["rdev"][0], inode->rdev_major);
    EXPECT_EQ(row["rdev"][1], inode->rdev_minor);
  }
  if (S_ISREG(inode->mode)) {
    EXPECT_EQ(row["size"], inode->size_bytes);
    EXPECT_EQ(row["sha256"], Digest::Of(ReadInode(index.data(), *inode, layer->device)).hex());
  }
  if (row.contains("same_inode_as")) {
    const Layer* other = nullptr;
    EXPECT_EQ(Visible(layers, row["same_inode_as"].get<std::string>(), other), inode);
  }
}

struct Case {
  const char* image;
  const char* expected;
  uint64_t span_bytes;
};

class CorpusLayersTest : public ::testing::TestWithParam<Case> {};

TEST_P(CorpusLayersTest, WhatIsVisibleIsRight) {
  const auto layout = kFixtures / "images" / GetParam().image;
  if (!std::filesystem::exists(layout)) {
    GTEST_SKIP() << layout << " is absent";
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const std::vector<Layer> layers,
                            IndexImage(layout, {.span_bytes = GetParam().span_bytes}));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string expected,
                            ReadFile(kFixtures / "corpus" / GetParam().expected));
  std::istringstream lines(expected);
  size_t rows = 0;
  for (std::string line; std::getline(lines, line); ++rows) {
    SCOPED_TRACE(line);
    ExpectRow(nlohmann::json::parse(line), layers);
  }
  EXPECT_GT(rows, 50U);
}

TEST_P(CorpusLayersTest, SurvivesTheIndexCodec) {
  const auto layout = kFixtures / "images" / GetParam().image;
  if (!std::filesystem::exists(layout)) {
    GTEST_SKIP() << layout << " is absent";
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const std::vector<Layer> layers,
                            IndexImage(layout, {.span_bytes = GetParam().span_bytes}));
  for (const Layer& layer : layers) {
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string encoded, EncodeLayerIndex(layer.indexed.index));
    FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex decoded, DecodeLayerIndex(encoded));
    EXPECT_EQ(Describe(decoded.data()), Describe(layer.indexed.index.data()));
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string again, EncodeLayerIndex(decoded));
    EXPECT_TRUE(again == encoded);
    EXPECT_TRUE(EncodeBlobMap(decoded, 0) == EncodeBlobMap(layer.indexed.index, 0));
  }
}

INSTANTIATE_TEST_SUITE_P(AllSpans, CorpusLayersTest,
                         ::testing::Values(Case{"oci", "expected-tree.jsonl", 256U << 10U},
                                           Case{"oci", "expected-tree.jsonl", 10000},
                                           Case{"oci", "expected-tree.jsonl", 8U << 20U},
                                           Case{"oci-edge", "expected-edge.jsonl", 256U << 10U},
                                           Case{"oci-edge", "expected-edge.jsonl", 1000}),
                         [](const auto& test) {
                           return std::string(test.param.image == std::string("oci") ? "Corpus"
                                                                                     : "Edge") +
                                  std::to_string(test.param.span_bytes);
                         });

class EdgeLayersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto layout = kFixtures / "images/oci-edge";
    if (!std::filesystem::exists(layout)) {
      GTEST_SKIP() << layout << " is absent";
    }
    FLOE_ASSERT_OK_AND_ASSIGN(layers_, IndexImage(layout, {}));
  }
  [[nodiscard]] std::vector<std::string> Tree(size_t layer) const {
    return Describe(layers_.at(layer).indexed.index.data());
  }
  std::vector<Layer> layers_;
};

TEST_F(EdgeLayersTest, FirstLayer) {
  EXPECT_THAT(Tree(0), Contains("links/b file 644 0:0 1700000000 size=5"));
  EXPECT_THAT(Tree(0), Contains("links/a file 644 0:0 1700000000 size=6"));
  EXPECT_THAT(Tree(0), Contains("twice/dir dir 711 4:0 1700000000"));
  EXPECT_THAT(Tree(0), Contains("twice dir 755 0:0 0 implied"));
  EXPECT_THAT(Tree(0), Contains("aufs/.wh.aufs whiteout"));
}

TEST_F(EdgeLayersTest, SecondLayer) {
  EXPECT_THAT(
      Tree(1),
      ElementsAre(
          ". dir 755 0:0 0 implied", "fresh dir 755 0:0 0 implied",
          "fresh/implied dir 755 0:0 0 implied", "fresh/implied/f file 644 0:0 1700000000 size=1",
          "half dir 755 0:0 0 implied", "half/gone whiteout", "lib dir 755 0:0 0 implied",
          "lib/added file 644 0:0 1700000000 size=26", "links dir 755 0:0 0 implied",
          "links/c file 644 0:0 1700000000 size=1", "opaque dir 755 0:0 0 implied opaque",
          "opaque/sub dir 755 0:0 0 implied", "opaque/sub/new file 644 0:0 1700000000 size=3",
          "plain dir 755 0:0 0 implied", "plain/nothing whiteout", "removed whiteout",
          "secret dir 755 0:0 0 implied", "secret/deep dir 755 0:0 0 implied",
          "secret/deep/y file 644 0:0 1700000000 size=1",
          "secret/new file 644 0:0 1700000000 size=29", "turn dir 755 0:0 0 implied",
          "turn/file-then-dir dir 755 0:0 0 implied",
          "turn/file-then-dir/inside file 644 0:0 1700000000 size=1"));
}

TEST_F(EdgeLayersTest, ThirdLayer) {
  EXPECT_THAT(Tree(2), ElementsAre(". dir 755 0:0 0 implied", "lib dir 755 0:0 0 implied",
                                   "lib/third file 644 0:0 1700000000 size=1",
                                   "opaque dir 755 0:0 0 implied", "opaque/sub whiteout",
                                   "removed dir 755 0:0 0 implied",
                                   "removed/again file 644 0:0 1700000000 size=36"));
}

TEST_F(EdgeLayersTest, SparseLayerTakesLittleDeviceSpace) {
  EXPECT_THAT(Tree(3), ElementsAre(". dir 755 0:0 0 implied", "sparse-posix dir 755 0:0 1700000000",
                                   "sparse-posix/all file 644 0:0 1700000000 size=2097152",
                                   "sparse-posix/holes file 644 0:0 1700000000 size=8388608",
                                   "sparse-posix/leading file 644 0:0 1700000000 size=3145728"));
  EXPECT_LE(layers_[3].indexed.index.data().blobs[0].device_size_bytes, 4U * (64U << 10U));
}

TEST(CorpusLayerTreesTest, SecondAndThirdLayer) {
  const auto layout = kFixtures / "images/oci";
  if (!std::filesystem::exists(layout)) {
    GTEST_SKIP() << layout << " is absent";
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const std::vector<Layer> layers, IndexImage(layout, {}));
  EXPECT_THAT(
      Describe(layers[1].indexed.index.data()),
      ElementsAre(
          ". dir 755 0:0 0 implied", "gone dir 755 0:0 0 implied", "gone/file whiteout",
          "layer2-only file 644 0:0 1700000000 size=2097152", "links dir 755 0:0 1700000000",
          "links/from-layer2 file 644 0:0 1700000000 size=9000", "links/hard1 whiteout",
          "links/target file 644 0:0 1700000000 size=9000 =links/from-layer2",
          "many dir 755 0:0 0 implied", "many/entry-00007 whiteout", "meta dir 755 5:0 1700000000",
          "opaque dir 755 0:0 1700000000 opaque", "opaque/upper file 644 0:0 1700000000 size=5",
          "sizes dir 755 0:0 1700000000", "sizes/f4097 file 644 0:0 1700000000 size=4097",
          "type dir 755 0:0 1700000000", "type/dir-to-file file 644 0:0 1700000000 size=10",
          "type/dir-to-link symlink 777 0:0 1700000000 -> ../names",
          "type/file-to-dir dir 755 0:0 1700000000",
          "type/file-to-dir/inside file 644 0:0 1700000000 size=1",
          "type/link-to-dir dir 755 0:0 1700000000",
          "type/link-to-dir/z file 644 0:0 1700000000 size=1"));
  EXPECT_THAT(
      Describe(layers[2].indexed.index.data()),
      ElementsAre(". dir 755 0:0 0 implied", "gone dir 755 0:0 1700000000",
                  "gone/file file 644 0:0 1700000000 size=10", "layer2-only whiteout",
                  "many dir 755 0:0 0 implied", "many/entry-00007 file 644 0:0 1700000000 size=8",
                  "opaque dir 755 0:0 1700000000 opaque", "xattrs dir 755 0:0 1700000000",
                  "xattrs/fresh file 644 0:0 1700000000 size=5 user.fresh=yes"));
}

class GzipFixtureTest : public ::testing::TestWithParam<const char*> {};

TEST_P(GzipFixtureTest, IsIndexedAndFilled) {
  const auto path = kFixtures / "gzip" / GetParam();
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << path << " is absent";
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string blob, ReadFile(path));
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer layer,
                            IndexBlob(blob, SourceOf(blob), {.span_bytes = 20000}));
  FLOE_EXPECT_OK(FillDevice(layer, blob));
  EXPECT_GT(layer.index.data().extents.size(), 0U);
}

INSTANTIATE_TEST_SUITE_P(AllTars, GzipFixtureTest,
                         ::testing::Values("bgzip.tar.gz", "zran-single-stream.tar.gz",
                                           "zran-two-streams.tar.gz", "zran-zero-file.tar.gz"),
                         [](const auto& test) {
                           std::string name;
                           for (char c : std::string(test.param)) {
                             if (c != '-' && c != '.') {
                               name.push_back(c);
                             }
                           }
                           return name;
                         });

TEST(GzipFixtureTextTest, GzipThatHoldsNoArchiveIsRefused) {
  const auto path = kFixtures / "gzip/zlib_sample.txt.gz";
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << path << " is absent";
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string blob, ReadFile(path));
  FLOE_EXPECT_ERROR(IndexBlob(blob, SourceOf(blob)), ErrorCode::kInvalidArgument, "layer sha256:");
}

}  // namespace
}  // namespace floe::image
