// A RAFS bootstrap with the chunk information of its blobs. Two small images are the seeds: one
// whose files are plain chunks, one in batches. What is accepted is a valid index.
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "image/rafs/bootstrap_archive.h"
#include "image/rafs/rafs_layer.h"
#include "image/rafs/toc.h"
#include "tests/fuzz/input.h"
#include "tests/image/rafs/rafs_writer.h"

namespace {

namespace rafs = floe::image::rafs;

rafs::Bytes AsBytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

rafs::WrittenImage Seed(bool batch) {
  rafs::WriterNode link;
  link.name = "link";
  link.mode = S_IFLNK | 0777;
  link.content = "d/a";
  rafs::WriterNode file = rafs::File("a", std::string(9000, 'a') + "b", {0, 1});
  file.xattrs = {{1, "name", "value"}, {4, "other", ""}};
  return rafs::WriteImage(rafs::Directory("", {rafs::Directory("d", {std::move(file)}),
                                               rafs::File("e", "e", {1}), std::move(link)}),
                          {.compact = batch,
                           .blob_count = 2,
                           .chunk_info_v2 = batch,
                           .batch = batch,
                           .prefetch = {128}});
}

/// Some bytes of what the input chooses become others.
void Edit(floe::testing::FuzzInput& input, rafs::WrittenImage& image) {
  while (!input.empty()) {
    const size_t which = input.Below(4);
    std::string& text = which == 3   ? image.chunk_info_files[0]
                        : which == 2 ? image.chunk_info_files[1]
                                     : image.bootstrap;
    const size_t at = input.Below(std::min<size_t>(text.size() + 1, 65536));
    const std::string bytes = input.Bytes(input.Below(16));
    text.replace(at, bytes.size(), bytes);
    if (input.Below(64) == 63) {
      text.resize(at);
    }
  }
}

void ReadImage(const rafs::WrittenImage& image) {
  const auto bootstrap = rafs::ReadBootstrap(AsBytes(image.bootstrap));
  if (!bootstrap) {
    return;
  }
  std::vector<rafs::BlobSource> sources;
  for (size_t i = 0; i < bootstrap->blobs.size(); ++i) {
    rafs::BlobSource& source = sources.emplace_back();
    source.size_bytes = uint64_t{1} << 40U;
    const auto info = rafs::ReadChunkInfoFile(
        AsBytes(image.chunk_info_files[i % image.chunk_info_files.size()]), bootstrap->blobs[i]);
    if (info) {
      source.chunk_info = *info;
    }
  }
  const auto layer = rafs::ReadRafsLayer(AsBytes(image.bootstrap), *bootstrap, sources);
  if (layer) {
    FLOE_CHECK(floe::image::LayerIndex::Create(layer->index.data()).has_value());
    FLOE_CHECK(layer->windows.size() == bootstrap->blobs.size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::array kSeeds = {Seed(false), Seed(true)};
  floe::testing::FuzzInput input(data, size);
  const size_t choice = input.Below(kSeeds.size() + 1);
  if (choice == kSeeds.size()) {
    const std::string rest = input.Rest();
    (void)rafs::ReadToc(AsBytes(rest), rest.size());
    const auto archive = rafs::BootstrapArchive::Read(AsBytes(rest), 1U << 22U);
    (void)rafs::ReadBootstrap(archive ? archive->bootstrap() : AsBytes(rest));
    return 0;
  }
  rafs::WrittenImage image = kSeeds[choice];
  Edit(input, image);
  ReadImage(image);
  return 0;
}
