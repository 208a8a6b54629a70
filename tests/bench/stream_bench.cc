// The pass over a layer that has no index: decode, verify, index, write. FLOE_BENCH_LAYER names a
// tar, tar+gzip or tar+zstd layer to use instead of the made-up one. Time is wall time; "cpu" is
// what all threads took, in seconds for 1 GiB of decoded bytes.
#include <fcntl.h>
#include <sys/resource.h>

#include <cstdlib>
#include <string>

#include <benchmark/benchmark.h>

#include "base/check.h"
#include "base/file.h"
#include "cachemgr/stream/device_writer.h"
#include "image/layer_indexer.h"
#include "tests/image/gzip_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/temp_dir.h"

namespace floe::cachemgr {
namespace {

constexpr size_t kFeedBytes = 16U << 10U;  // What curl delivers at most.
constexpr uint64_t kMaxLayerBytes = 2ULL << 30U;

// Words with numbers between: compresses about 3:1, as file systems do.
std::string MadeUpFile(uint64_t seed) {
  std::string text;
  for (uint64_t i = seed; text.size() < 20000 + seed % 200000; i = i * 6364136223846793005 + 1) {
    text += "word" + std::to_string(i >> 54U) + " ";
  }
  return text;
}

const std::string& Layer() {
  static const std::string blob = [] {
    if (const char* path = std::getenv("FLOE_BENCH_LAYER"); path != nullptr) {
      return ReadFile(path, kMaxLayerBytes).value();
    }
    image::TarArchive archive;
    for (uint64_t i = 0; i < 400; ++i) {
      archive.File("usr/f" + std::to_string(i), MadeUpFile(i * 7919));
    }
    return image::GzipMember(archive.End().bytes());
  }();
  return blob;
}

double CpuSeconds() {
  struct rusage usage{};
  FLOE_CHECK(::getrusage(RUSAGE_SELF, &usage) == 0);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

uint64_t OnePass(bool writes, bool pipelined, uint64_t span_bytes, benchmark::State& state) {
  const floe::testing::TempDir directory;
  auto fd = OpenFile(directory / "data", O_RDWR | O_CREAT);
  FLOE_CHECK(fd.has_value());
  DeviceWriter writer(fd->get());
  const std::string& blob = Layer();
  static const Digest digest = Digest::Of(blob);
  auto indexer = image::LayerIndexer::Create(
      {.digest = digest, .size_bytes = blob.size(), .media_type = "tar", .diff_id = {}},
      {.span_bytes = span_bytes, .contents = writes ? &writer : nullptr, .pipelined = pipelined});
  FLOE_CHECK(indexer.has_value());
  for (size_t at = 0; at < blob.size(); at += kFeedBytes) {
    const auto bytes = std::as_bytes(std::span(blob)).subspan(at);
    FLOE_CHECK((*indexer)->Feed(bytes.first(std::min(bytes.size(), kFeedBytes))).has_value());
  }
  auto layer = (*indexer)->Finish();
  FLOE_CHECK(layer.has_value());
  const auto& data = layer->index.data();
  if (writes) {
    FLOE_CHECK(writer.Finish(layer->placements, data.blobs[0].device_size_bytes).has_value());
  }
  state.counters["units"] = static_cast<double>(data.units.size());
  state.counters["window_share"] =
      static_cast<double>(layer->windows.size()) / static_cast<double>(blob.size());
  return data.blobs[0].device_size_bytes;
}

// writes, pipelined, span in KiB
void BM_StreamLayer(benchmark::State& state) {
  (void)Layer();
  uint64_t device_bytes = 0;
  const double cpu = CpuSeconds();
  for (auto _ : state) {
    device_bytes += OnePass(state.range(0) != 0, state.range(1) != 0,
                            static_cast<uint64_t>(state.range(2)) << 10U, state);
  }
  state.SetBytesProcessed(static_cast<int64_t>(device_bytes));
  state.counters["cpu"] = (CpuSeconds() - cpu) * static_cast<double>(1U << 30U) /
                          static_cast<double>(std::max<uint64_t>(device_bytes, 1));
}
BENCHMARK(BM_StreamLayer)
    ->ArgNames({"write", "pipeline", "span"})
    ->ArgsProduct({{0, 1}, {0, 1}, {256, 512, 896}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace floe::cachemgr
