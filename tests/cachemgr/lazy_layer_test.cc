// A gzip layer from a registry over HTTP to read(2): indexer, writer, cache manager and kernel
// together.
#include <sys/mount.h>

#include "erofs/writer.h"
#include "fetcher/registry_client.h"
#include "image/blob_map.h"
#include "image/layer_indexer.h"
#include "tests/cachemgr/kernel_fixture.h"
#include "tests/image/gzip_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/fake_registry.h"

namespace floe::cachemgr::testing {
namespace {

std::string Content(int file) {
  return RandomBytes(static_cast<uint64_t>(file) * 1777 % 60000, static_cast<uint32_t>(file) + 1);
}

std::string GzipLayer(int files) {
  image::TarArchive tar;
  tar.Directory("usr/");
  for (int i = 0; i < files; ++i) {
    tar.File("usr/f" + std::to_string(i), Content(i));
  }
  tar.End();
  return image::GzipMember(tar.bytes(), {.mem_level = 4});
}

Result<image::IndexedLayer> Index(const std::string& layer) {
  image::IndexerOptions options;
  options.span_bytes = 64U << 10U;
  FLOE_ASSIGN_OR_RETURN(
      auto indexer,
      image::LayerIndexer::Create({.digest = Digest::Of(layer),
                                   .size_bytes = layer.size(),
                                   .media_type = "application/vnd.oci.image.layer.v1.tar+gzip",
                                   .diff_id = {}},
                                  options));
  FLOE_RETURN_IF_ERROR(indexer->Feed(std::as_bytes(std::span(layer))));
  return indexer->Finish();
}

TEST(LazyLayerTest, AGzipLayerIsReadThroughTheKernelByRangesOfIt) {
  if (auto can = CanUseChannel("auto"); !can) {
    GTEST_SKIP() << can.error().message;
  }
  constexpr int kFiles = 100;
  const floe::testing::TempDir directory;
  const std::string layer = GzipLayer(kFiles);
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer indexed, Index(layer));
  const std::string map = image::EncodeBlobMap(indexed.index, 0);
  const erofs::MergeLayer merge{.index = &indexed.index, .device_tags = {image::DeviceKey(map)}};
  FLOE_ASSERT_OK_AND_ASSIGN(const erofs::Bootstrap bootstrap,
                            erofs::WriteBootstrap({&merge, 1}, {}));
  FLOE_ASSERT_OK(WriteFileAtomically(directory / "map", map));
  FLOE_ASSERT_OK(WriteFileAtomically(directory / "bootstrap", bootstrap.bytes));
  FLOE_ASSERT_OK(CreateDirectories(directory / "target"));

  floe::testing::FakeRegistry registry;
  registry.AddBlob("library/app", layer);
  registry.AddBlob("library/app", indexed.windows);
  FLOE_ASSERT_OK_AND_ASSIGN(
      const auto manager,
      Manager::Create(
          {.root = directory / "root"},
          [](const std::string&) { return fetcher::RegistryClient::Create({}); }, Clock::Real()));
  MountRequest request;
  request.id = "layer";
  request.bootstrap = directory / "bootstrap";
  request.bootstrap_digest = Digest::Of(bootstrap.bytes);
  request.devices.push_back(
      {.key = image::DeviceKey(map),
       .blob_map = directory / "map",
       .sources = {{.repository = {.registry = registry.host(), .path = "library/app"}}}});
  request.target = directory / "target";
  FLOE_ASSERT_OK(manager->Mount(request));

  FLOE_ASSERT_OK_AND_ASSIGN(const std::string middle, ReadFile(directory / "target/usr/f50"));
  EXPECT_EQ(middle, Content(50));
  EXPECT_LT(manager->counters().fetched_bytes, layer.size() / 4);
  for (int i = 0; i < kFiles; ++i) {
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes,
                              ReadFile(directory / ("target/usr/f" + std::to_string(i))));
    ASSERT_EQ(bytes, Content(i)) << i;
  }
  EXPECT_EQ(manager->counters().reads_failed, 0U);
  EXPECT_EQ(manager->counters().integrity_errors, 0U);
  FLOE_EXPECT_OK(manager->Unmount("layer", false));
}

}  // namespace
}  // namespace floe::cachemgr::testing
