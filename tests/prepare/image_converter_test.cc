#include "prepare/image_converter.h"

#include <atomic>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "image/manifest.h"
#include "prepare/converted_manifest.h"
#include "prepare/temporary_file.h"
#include "tests/image/gzip_support.h"
#include "tests/prepare/image_support.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::prepare {
namespace {

using image::SeekableFormat;
using ::testing::Contains;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

class ConvertImageTest : public ::testing::Test {
 protected:
  void SetUp() override { FLOE_ASSERT_OK_AND_ASSIGN(image_, fixture_.Resolve()); }

  Result<ConvertedImage> Convert(SeekableFormat format = SeekableFormat::kZstdChunked,
                                 const ProgressFn& progress = {}) {
    ConvertImageOptions options;
    options.layer.seekable.format = format;
    options.temporary_directory = directory_.path().native();
    return ConvertImage(fixture_.registry, image_, target_, options, progress,
                        Deadline::Infinite());
  }
  image::ImageManifest ManifestAt(const fetcher::Repository& repository, const std::string& name) {
    auto found = fixture_.registry.FindManifest(repository, name);
    auto manifest = image::ParseImageManifest(found ? found->bytes : "");
    EXPECT_TRUE(manifest.has_value()) << name;
    return manifest ? *manifest : image::ImageManifest();
  }
  std::string Blob(const Digest& digest) {
    return fixture_.registry.BlobBytes(target_.repository, digest).value_or("");
  }

  testing::TempDir directory_;
  ImageFixture fixture_;
  ResolvedImage image_;
  fetcher::Reference target_ = fixture_.Ref("converted");
};

TEST_F(ConvertImageTest, PushesAnImageThatResolvesWithTheSameConfig) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ConvertedImage converted, Convert());
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage resolved, fixture_.Resolve("converted"));
  EXPECT_EQ(resolved.manifest_digest, converted.manifest);
  EXPECT_EQ(resolved.config_bytes, image_.config_bytes);
  EXPECT_EQ(resolved.chain_ids, image_.chain_ids);
  ASSERT_EQ(resolved.manifest.layers.size(), 2U);
  EXPECT_EQ(resolved.manifest.media_type, kOciManifestMediaType);
  EXPECT_EQ(resolved.manifest.layers[0].media_type, "application/vnd.oci.image.layer.v1.tar+zstd");
  EXPECT_THAT(resolved.manifest.layers[0].annotations,
              Contains(Key("containerd.io/snapshot/stargz/toc.digest")));
  ASSERT_EQ(converted.layers.size(), 2U);
  EXPECT_EQ(converted.layers[0].before, fixture_.layers[0].digest());
  EXPECT_EQ(converted.layers[0].after, resolved.manifest.layers[0].digest);
  EXPECT_EQ(Digest::Of(Blob(converted.layers[0].after)), converted.layers[0].after);
  EXPECT_EQ(converted.layers[0].diff_id_before, converted.layers[0].diff_id_after);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto left, ListDirectory(directory_.path()));
  EXPECT_TRUE(left.empty());
}

TEST_F(ConvertImageTest, AnEmbeddedTableChangesDiffIdsAndNothingElseOfTheConfig) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ConvertedImage converted, Convert(SeekableFormat::kEStargz));
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage resolved, fixture_.Resolve("converted"));
  auto before = nlohmann::ordered_json::parse(image_.config_bytes);
  auto after = nlohmann::ordered_json::parse(resolved.config_bytes);
  for (size_t i = 0; i < converted.layers.size(); ++i) {
    const ConvertedImageLayer& layer = converted.layers[i];
    EXPECT_NE(layer.diff_id_before, layer.diff_id_after);
    EXPECT_EQ(after["rootfs"]["diff_ids"][i], layer.diff_id_after.ToString());
    EXPECT_EQ(Digest::Of(image::GunzipAll(Blob(layer.after))), layer.diff_id_after);
  }
  after["rootfs"]["diff_ids"] = before["rootfs"]["diff_ids"];
  EXPECT_EQ(after.dump(), before.dump());
}

TEST_F(ConvertImageTest, ExternalTablesAreAnImageBeside) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ConvertedImage converted,
                            Convert(SeekableFormat::kEStargzExternalToc));
  EXPECT_EQ(converted.toc_tag, "converted-esgztoc");
  const image::ImageManifest tables = ManifestAt(target_.repository, "converted-esgztoc");
  const image::ImageManifest manifest = ManifestAt(target_.repository, "converted");
  EXPECT_EQ(tables.config.digest, Digest::Of("{}"));
  ASSERT_EQ(tables.layers.size(), 2U);
  for (size_t i = 0; i < tables.layers.size(); ++i) {
    EXPECT_THAT(tables.layers[i].annotations,
                Contains(Pair("containerd.io/snapshot/stargz/layer.digest",
                              manifest.layers[i].digest.ToString())));
    EXPECT_EQ(Digest::Of(Blob(tables.layers[i].digest)), tables.layers[i].digest);
  }
  EXPECT_EQ(manifest.config.digest, image_.manifest.config.digest);
}

TEST_F(ConvertImageTest, AnotherRepositoryGetsEverything) {
  target_.repository.path = "copy/of/app";
  FLOE_ASSERT_OK(Convert());
  const image::ImageManifest manifest = ManifestAt(target_.repository, "converted");
  EXPECT_EQ(Blob(manifest.config.digest), image_.config_bytes);
  EXPECT_EQ(Blob(manifest.layers[1].digest).size(), manifest.layers[1].size_bytes);
}

TEST_F(ConvertImageTest, TheSecondTimePushesNoBlob) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ConvertedImage first, Convert());
  fixture_.registry.ForgetCalls();
  FLOE_ASSERT_OK_AND_ASSIGN(const ConvertedImage second, Convert());
  EXPECT_EQ(second.manifest, first.manifest);
  EXPECT_TRUE(second.layers[0].reused);
  EXPECT_EQ(fixture_.registry.CountCalls("PushBlob"), 0U);
}

TEST_F(ConvertImageTest, RepeatedLayersAreConvertedOnce) {
  PushImage(fixture_.registry, fixture_.repository, "twice",
            {fixture_.layers[1], fixture_.layers[0], fixture_.layers[1]});
  FLOE_ASSERT_OK_AND_ASSIGN(image_, fixture_.Resolve("twice"));
  fixture_.registry.ForgetCalls();
  FLOE_ASSERT_OK_AND_ASSIGN(const ConvertedImage converted, Convert());
  EXPECT_EQ(converted.layers.size(), 2U);
  EXPECT_EQ(fixture_.registry.CountCalls("StreamBlob"), 2U);
  const image::ImageManifest manifest = ManifestAt(target_.repository, "converted");
  ASSERT_EQ(manifest.layers.size(), 3U);
  EXPECT_EQ(manifest.layers[0].digest, manifest.layers[2].digest);
}

TEST_F(ConvertImageTest, NothingIsPushedWhenALayerFails) {
  fixture_.registry.ReplaceBlob(fixture_.repository, fixture_.layers[1].digest(), "garbage");
  EXPECT_FALSE(Convert().has_value());
  EXPECT_EQ(fixture_.registry.CountCalls("PushBlob"), 0U);
  EXPECT_EQ(fixture_.registry.CountCalls("PushManifest"), 0U);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto left, ListDirectory(directory_.path()));
  EXPECT_TRUE(left.empty());
}

TEST_F(ConvertImageTest, NoTagWithoutItsBlobs) {
  fixture_.registry.FailCalls("PushBlob", Unavailable("no"));
  FLOE_EXPECT_ERROR(Convert(), ErrorCode::kUnavailable, "no");
  EXPECT_EQ(fixture_.registry.CountCalls("PushManifest"), 0U);
}

TEST_F(ConvertImageTest, RefusesBeforeItReads) {
  fixture_.registry.ForgetCalls();
  target_ = {fixture_.repository, "", Digest::Of("x")};
  FLOE_EXPECT_ERROR(Convert(), ErrorCode::kInvalidArgument, "names no tag");
  target_ = fixture_.Ref("converted");
  image_.manifest.layers[1].media_type =
      "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
  FLOE_EXPECT_ERROR(Convert(), ErrorCode::kUnimplemented, "may not be distributed");
  image_.manifest.layers[1].media_type = "application/wasm";
  FLOE_EXPECT_ERROR(Convert(), ErrorCode::kUnimplemented, "'application/wasm'");
  EXPECT_TRUE(fixture_.registry.calls().empty());
}

TEST_F(ConvertImageTest, OtherAnnotationsStay) {
  image_.manifest.annotations["org.example"] = "image";
  image_.manifest.layers[0].annotations = {{"org.example", "layer"},
                                           {"io.containers.estargz.uncompressed-size", "stale"},
                                           {"io.github.containers.zstd-chunked.x", "stale"}};
  FLOE_ASSERT_OK(Convert());
  const image::ImageManifest manifest = ManifestAt(target_.repository, "converted");
  EXPECT_THAT(manifest.annotations, Contains(Pair("org.example", "image")));
  const auto& annotations = manifest.layers[0].annotations;
  EXPECT_THAT(annotations, Contains(Pair("org.example", "layer")));
  EXPECT_THAT(annotations, Not(Contains(Key("io.github.containers.zstd-chunked.x"))));
  EXPECT_NE(annotations.at("io.containers.estargz.uncompressed-size"), "stale");
}

TEST_F(ConvertImageTest, TellsOfProgress) {
  std::atomic<uint64_t> done{0};
  FLOE_ASSERT_OK(Convert(SeekableFormat::kZstdChunked, [&](const Progress& progress) {
    if (progress.bytes_done == progress.bytes_total) {
      done += progress.bytes_total;
    }
  }));
  EXPECT_EQ(done.load(), fixture_.layers[0].blob.size() + fixture_.layers[1].blob.size());
}

TEST(ReplaceDiffIdsTest, KeepsOrderAndNumbers) {
  const Digest a = Digest::Of("a");
  const Digest b = Digest::Of("b");
  const std::string config = R"({"z":1.50,"rootfs":{"type":"layers","diff_ids":["x"]},"a":"é"})";
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string same, ReplaceDiffIds(config, {a}, {a}));
  EXPECT_EQ(same, config);
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string other, ReplaceDiffIds(config, {a}, {b}));
  EXPECT_EQ(other, R"({"z":1.5,"rootfs":{"type":"layers","diff_ids":[")" + b.ToString() +
                       R"("]},"a":"é"})");
  FLOE_EXPECT_ERROR(ReplaceDiffIds("{}", {a}, {b}), ErrorCode::kInvalidArgument, "no rootfs");
}

TEST(TemporaryFileTest, IsMappedAndVanishes) {
  testing::TempDir directory;
  {
    FLOE_ASSERT_OK_AND_ASSIGN(TemporaryFile file, TemporaryFile::Create(directory.path()));
    FLOE_ASSERT_OK(file.Append("ab"));
    FLOE_ASSERT_OK(file.Append("c"));
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string_view bytes, file.Map());
    TemporaryFile moved = std::move(file);
    EXPECT_EQ(bytes, "abc");
    FLOE_ASSERT_OK_AND_ASSIGN(const auto names, ListDirectory(directory.path()));
    EXPECT_TRUE(names.empty());
  }
  FLOE_ASSERT_OK_AND_ASSIGN(TemporaryFile empty, TemporaryFile::Create(directory.path()));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string_view bytes, empty.Map());
  EXPECT_TRUE(bytes.empty());
  FLOE_EXPECT_ERROR(TemporaryFile::Create(directory / "absent"), ErrorCode::kNotFound, "absent");
}

}  // namespace
}  // namespace floe::prepare
