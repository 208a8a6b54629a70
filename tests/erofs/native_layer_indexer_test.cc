#include "erofs/native_layer_indexer.h"

#include <zstd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "erofs/native_layer.h"
#include "image/index_codec.h"
#include "tests/erofs/layer_fixture.h"
#include "tests/erofs/native_support.h"
#include "tests/erofs/tiny_image.h"
#include "tests/image/layer_support.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::erofs::testing {
namespace {

constexpr const char* kWrappedType = "application/vnd.erofs.layer.v1+zstd";

std::string ZstdFrame(std::string_view bytes) {
  std::string frame(ZSTD_compressBound(bytes.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), bytes.data(), bytes.size(), 3));
  return frame;
}

/// Frames of so many bytes each.
std::string ZstdFrames(std::string_view bytes, size_t step) {
  std::string frames;
  for (size_t at = 0; at < bytes.size(); at += step) {
    frames += ZstdFrame(bytes.substr(at, step));
  }
  return frames;
}

class NativeLayerIndexerTest : public ::testing::Test {
 protected:
  const std::string image_ = SampleTinyImage();
};

TEST_F(NativeLayerIndexerTest, TheSameBytesInAnyPiecesGiveTheSameIndex) {
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer whole,
                            IndexNative(image_, NativeSourceOf(image_), {}, image_.size()));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string expected, image::EncodeLayerIndex(whole.index));
  for (const size_t step : {1U, 77U, 4096U}) {
    FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer layer,
                              IndexNative(image_, NativeSourceOf(image_), {}, step));
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string encoded, image::EncodeLayerIndex(layer.index));
    EXPECT_EQ(encoded, expected) << step;
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const image::LayerIndex decoded, image::DecodeLayerIndex(expected));
  EXPECT_EQ(decoded.data().diff_id, Digest::Of(image_));
  EXPECT_EQ(decoded.data().blobs[0].media_type, kErofsLayerType);
  EXPECT_THAT(decoded.data().producer, ::testing::EndsWith(" erofs"));
}

TEST_F(NativeLayerIndexerTest, UnitsArePlainAndOnlyWhereFilesAre) {
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer layer,
                            IndexNative(image_, NativeSourceOf(image_), {.span_bytes = 512}));
  uint64_t units = 0;
  for (const image::Unit& unit : layer.index.data().units) {
    EXPECT_EQ(unit.codec, image::Codec::kPlain);
    EXPECT_EQ(unit.range.length, 512U);
    units += unit.range.length;
  }
  EXPECT_LT(units, image_.size() / 2);
  FLOE_EXPECT_OK(TreeOfLayer(layer, image_));
}

TEST_F(NativeLayerIndexerTest, AnotherDigestIsRefused) {
  image::LayerSource source = NativeSourceOf(image_);
  source.digest = Digest::Of("something else");
  FLOE_EXPECT_ERROR(IndexNative(image_, source), ErrorCode::kDataLoss, "its bytes have the digest");
  FLOE_EXPECT_ERROR(IndexNative(image_, source), ErrorCode::kDataLoss, source.digest.ToString());
}

TEST_F(NativeLayerIndexerTest, AnotherDiffIdIsRefused) {
  image::LayerSource source = NativeSourceOf(image_);
  source.diff_id = Digest::Of(image_);
  FLOE_EXPECT_OK(IndexNative(image_, source));
  source.diff_id = Digest::Of("something else");
  FLOE_EXPECT_ERROR(IndexNative(image_, source), ErrorCode::kDataLoss,
                    "the image's configuration says");
}

TEST_F(NativeLayerIndexerTest, OtherLengthsAreRefused) {
  const image::LayerSource source = NativeSourceOf(image_);
  FLOE_EXPECT_ERROR(IndexNative(image_ + "x", source), ErrorCode::kDataLoss, "more than the");
  FLOE_EXPECT_ERROR(IndexNative(image_.substr(1), source), ErrorCode::kDataLoss,
                    "the manifest says");
}

TEST_F(NativeLayerIndexerTest, ACutImageIsRefusedWhateverItsDigest) {
  const std::string cut = image_.substr(0, image_.size() - kBlockBytes);
  FLOE_EXPECT_ERROR(IndexNative(cut, NativeSourceOf(cut)), ErrorCode::kDataLoss, "blocks of 4096");
  FLOE_EXPECT_ERROR(IndexNative("", NativeSourceOf("")), ErrorCode::kInvalidArgument,
                    "not an EROFS image");
}

TEST_F(NativeLayerIndexerTest, TheFirstErrorStays) {
  image::LayerSource source = NativeSourceOf("12345");
  FLOE_ASSERT_OK_AND_ASSIGN(
      const auto indexer,
      NativeLayerIndexer::Create(source, {}, std::filesystem::temp_directory_path()));
  const std::string_view bytes = "123456";
  FLOE_EXPECT_ERROR(indexer->Feed(std::as_bytes(std::span(bytes))), ErrorCode::kDataLoss,
                    "more than the 5 bytes");
  FLOE_EXPECT_ERROR(indexer->Feed({}), ErrorCode::kDataLoss, "more than the 5 bytes");
  FLOE_EXPECT_ERROR(indexer->Finish(), ErrorCode::kDataLoss, "more than the 5 bytes");
}

TEST_F(NativeLayerIndexerTest, WrongRequestsAreRefused) {
  const std::filesystem::path work = std::filesystem::temp_directory_path();
  image::LayerSource source = NativeSourceOf(image_);
  FLOE_EXPECT_ERROR(NativeLayerIndexer::Create(source, {.span_bytes = 0}, work),
                    ErrorCode::kInvalidArgument, "options");
  FLOE_EXPECT_ERROR(NativeLayerIndexer::Create(source, {}, work / "not-there" / "at-all"),
                    ErrorCode::kNotFound, "not-there");
  source.media_type = "application/vnd.oci.image.layer.v1.tar";
  FLOE_EXPECT_ERROR(NativeLayerIndexer::Create(source, {}, work), ErrorCode::kInvalidArgument,
                    "not of an EROFS image");
  source.digest = Digest();
  FLOE_EXPECT_ERROR(NativeLayerIndexer::Create(source, {}, work), ErrorCode::kInvalidArgument,
                    "without a digest");
}

TEST_F(NativeLayerIndexerTest, TheSpoolLeavesNothingBehind) {
  const floe::testing::TempDir work;
  {
    FLOE_ASSERT_OK_AND_ASSIGN(const auto indexer,
                              NativeLayerIndexer::Create(NativeSourceOf(image_), {}, work.path()));
    FLOE_ASSERT_OK(indexer->Feed(std::as_bytes(std::span(image_))));
    FLOE_ASSERT_OK_AND_ASSIGN(const auto names, ListDirectory(work.path()));
    EXPECT_TRUE(names.empty());
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const auto names, ListDirectory(work.path()));
  EXPECT_TRUE(names.empty());
}

TEST_F(NativeLayerIndexerTest, AWrappedImageOfManyFramesIsLazy) {
  const std::string blob = ZstdFrames(image_, 5000);
  image::LayerSource source = NativeSourceOf(blob, kWrappedType);
  source.diff_id = Digest::Of(image_);
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer layer,
                            IndexNative(blob, source, {.span_bytes = 4096}));
  EXPECT_EQ(layer.index.data().diff_id, Digest::Of(image_));
  for (const image::Unit& unit : layer.index.data().units) {
    EXPECT_EQ(unit.codec, image::Codec::kZstd);
    EXPECT_EQ(unit.decoded_length, 5000U);
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, TreeOfLayer(layer, blob));
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer raw,
                            IndexNative(image_, NativeSourceOf(image_)));
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree expected, TreeOfLayer(raw, image_));
  EXPECT_EQ(tree, expected);
}

TEST_F(NativeLayerIndexerTest, AWrappedImageOfOneSmallFrameIsOneUnit) {
  const std::string blob = ZstdFrame(image_);
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer layer,
                            IndexNative(blob, NativeSourceOf(blob, kWrappedType)));
  EXPECT_EQ(layer.index.data().units.size(), 1U);
  FLOE_EXPECT_OK(TreeOfLayer(layer, blob));
}

TEST_F(NativeLayerIndexerTest, AWrappedImageOfOneLargeFrameIsAStreamedUnit) {
  std::string image = image_;
  image.resize(65U << 20U);
  const std::string blob = ZstdFrame(image);
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer layer,
                            IndexNative(blob, NativeSourceOf(blob, kWrappedType)));
  ASSERT_EQ(layer.index.data().units.size(), 1U);
  EXPECT_GT(layer.index.data().units[0].decoded_length, image::kMaxUnitBytes);
}

TEST_F(NativeLayerIndexerTest, TheMediaTypeSaysWhetherTheImageIsWrapped) {
  const std::string blob = ZstdFrame(image_);
  FLOE_EXPECT_ERROR(IndexNative(blob, NativeSourceOf(blob)), ErrorCode::kInvalidArgument,
                    "not an EROFS image");
  FLOE_EXPECT_ERROR(IndexNative(image_, NativeSourceOf(image_, kWrappedType)),
                    ErrorCode::kInvalidArgument, "zstd: no frame at byte 0");
  FLOE_EXPECT_OK(IndexNative(image_, NativeSourceOf(image_, "application/vnd.example.erofs")));
}

TEST_F(NativeLayerIndexerTest, TheDecodedSizeIsBounded) {
  const std::string blob = ZstdFrame(image_);
  FLOE_EXPECT_ERROR(
      IndexNative(blob, NativeSourceOf(blob, kWrappedType), {.max_decoded_bytes = 10'000}),
      ErrorCode::kInvalidArgument, "decodes to more than 10000 bytes");
}

TEST_F(NativeLayerIndexerTest, AnUnverifiedIndexHasTheSameTreeAndNoDigests) {
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer layer,
                            IndexNative(image_, NativeSourceOf(image_)));
  image::SourceBlob blob;
  blob.digest = Digest::Of(image_);
  blob.size_bytes = image_.size();
  blob.media_type = kErofsLayerType;
  MemoryImage memory(image_);
  FLOE_ASSERT_OK_AND_ASSIGN(const image::LayerIndex unverified,
                            MakeUnverifiedIndex(memory, blob, 256U << 10U));
  EXPECT_EQ(unverified.data().inodes.size(), layer.index.data().inodes.size());
  EXPECT_EQ(unverified.data().strings, layer.index.data().strings);
  EXPECT_EQ(unverified.data().extents.size(), layer.index.data().extents.size());
  for (const image::Group& group : unverified.data().groups) {
    EXPECT_EQ(group.digest_kind, image::DigestKind::kNone);
    EXPECT_EQ(group.digest, Sha256{});
  }
}

}  // namespace
}  // namespace floe::erofs::testing
