#include <sys/stat.h>

#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "base/check.h"
#include "base/digest.h"
#include "erofs/reader.h"
#include "erofs/writer.h"
#include "image/layer_index.h"

namespace floe::erofs {
namespace {

constexpr uint32_t kFilesPerDirectory = 40;
constexpr uint64_t kFileBytes = 20000;

image::Inode Directory(uint32_t first_dirent, uint32_t dirent_count) {
  image::Inode inode;
  inode.mode = S_IFDIR | 0755;
  inode.first_dirent = first_dirent;
  inode.dirent_count = dirent_count;
  return inode;
}

/// A layer of `files` files in directories of 40, each with a chunk; every tenth file has an xattr.
/// Layers share their directories and, from `overlap` files on, replace each other's files.
image::LayerIndex MakeLayer(uint32_t layer, uint32_t files, uint32_t overlap) {
  image::LayerIndexData data;
  const auto intern = [&](const std::string& text) {
    const image::StringRef ref{static_cast<uint32_t>(data.strings.size()),
                               static_cast<uint32_t>(text.size())};
    data.strings += text;
    return ref;
  };
  const uint32_t directories = files / kFilesPerDirectory;
  image::SourceBlob blob;
  blob.digest = Digest::Of("blob " + std::to_string(layer));
  blob.size_bytes = 1;
  blob.device_size_bytes = files * AlignUp(kFileBytes, kBlockBytes);
  data.blobs.push_back(blob);
  data.inodes.resize(1 + directories + files);
  const image::StringRef label = intern("security.selinux");
  const image::StringRef value = intern("system_u:object_r:container_file_t:s0");
  const auto number = [](uint32_t n) { return std::to_string(1000000 + n); };
  data.inodes[0] = Directory(0, directories);
  for (uint32_t d = 0; d < directories; ++d) {
    data.dirents.push_back({intern("directory-" + number(d)), 1 + d});
    data.inodes[1 + d] = Directory(directories + d * kFilesPerDirectory, kFilesPerDirectory);
  }
  for (uint32_t f = 0; f < files; ++f) {
    const uint32_t owner = f % kFilesPerDirectory < overlap ? 0 : layer;
    data.dirents.push_back(
        {intern("file-" + number(f) + "-of-" + std::to_string(owner)), 1 + directories + f});
    image::Inode& inode = data.inodes[1 + directories + f];
    inode.mode = S_IFREG | 0644;
    inode.mtime_seconds = 1700000000;
    inode.size_bytes = kFileBytes;
    inode.first_segment = static_cast<uint32_t>(data.segments.size());
    inode.segment_count = 1;
    inode.first_xattr = static_cast<uint32_t>(data.xattrs.size());
    data.segments.push_back({0, kFileBytes, 0, f * AlignUp(kFileBytes, kBlockBytes)});
    if (f % 10 == 0) {
      inode.xattr_count = 1;
      data.xattrs.push_back({label, value});
    }
  }
  auto index = image::LayerIndex::Create(std::move(data));
  FLOE_CHECK(index.has_value());
  return std::move(index).value();
}

class Layers {
 public:
  Layers(uint32_t count, uint32_t files_per_layer, uint32_t overlap) {
    for (uint32_t i = 0; i < count; ++i) {
      indexes_.push_back(
          std::make_unique<image::LayerIndex>(MakeLayer(i, files_per_layer, overlap)));
      layers_.push_back({indexes_.back().get(), {Digest::Of(std::to_string(i)).hex()}});
    }
  }
  [[nodiscard]] const std::vector<MergeLayer>& get() const { return layers_; }

 private:
  std::vector<std::unique_ptr<image::LayerIndex>> indexes_;
  std::vector<MergeLayer> layers_;
};

/// Arguments: layers, files a layer.
void WriteMergedBootstrap(benchmark::State& state) {
  const Layers layers(static_cast<uint32_t>(state.range(0)), static_cast<uint32_t>(state.range(1)),
                      kFilesPerDirectory / 4);
  uint64_t inodes = 0;
  uint64_t bytes = 0;
  for (auto _ : state) {
    auto bootstrap = WriteBootstrap(layers.get(), {});
    FLOE_CHECK(bootstrap.has_value());
    inodes = bootstrap->inode_count;
    bytes = bootstrap->bytes.size();
    benchmark::DoNotOptimize(bootstrap);
  }
  state.counters["inodes"] = static_cast<double>(inodes);
  state.counters["bytes"] = static_cast<double>(bytes);
  state.counters["inodes_per_second"] = benchmark::Counter(
      static_cast<double>(inodes), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(WriteMergedBootstrap)
    ->Args({1, 100000})
    ->Args({5, 24000})
    ->Args({40, 3000})
    ->Unit(benchmark::kMillisecond);

void ValidateBootstrap(benchmark::State& state) {
  const Layers layers(5, static_cast<uint32_t>(state.range(0)), kFilesPerDirectory / 4);
  auto bootstrap = WriteBootstrap(layers.get(), {});
  FLOE_CHECK(bootstrap.has_value());
  for (auto _ : state) {
    auto reader = BootstrapReader::Open(bootstrap->bytes);
    FLOE_CHECK(reader.has_value() && reader->Validate().has_value());
  }
  state.counters["inodes_per_second"] = benchmark::Counter(
      static_cast<double>(bootstrap->inode_count), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(ValidateBootstrap)->Arg(24000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace floe::erofs
