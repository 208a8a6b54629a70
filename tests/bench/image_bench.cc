// Throughput of the image module's hot paths. FLOE_BENCH_LAYER names a tar+gzip layer to use
// instead of the made-up one.
#include <zlib.h>
#include <zstd.h>

#include <array>
#include <cstdlib>
#include <random>
#include <string>

#include <benchmark/benchmark.h>

#include "base/check.h"
#include "base/file.h"
#include "image/blob_map.h"
#include "image/gzip_scanner.h"
#include "image/index_codec.h"
#include "image/zstd_scanner.h"
#include "tests/image/gzip_support.h"
#include "tests/image/sample_index.h"
#include "tests/image/scan_support.h"
#include "tests/support/temp_dir.h"

namespace floe::image {
namespace {

constexpr size_t kDataBytes = 32U << 20U;
constexpr size_t kFeedBytes = 64U << 10U;
constexpr uint64_t kMaxLayerBytes = 1ULL << 30U;

// Words of a small vocabulary with numbers between: compresses about 3:1, as file systems do.
std::string MadeUpData() {
  std::mt19937_64 random(1);
  std::vector<std::string> words;
  for (int i = 0; i < 3000; ++i) {
    std::string word;
    for (size_t n = 2 + random() % 9; n > 0; --n) {
      word.push_back(static_cast<char>('a' + random() % 26));
    }
    words.push_back(word);
  }
  std::string data;
  while (data.size() < kDataBytes) {
    data += words[random() % (1U << (4 + random() % 8)) % words.size()];
    data += random() % 6 == 0 ? std::to_string(random() % 100000) + "\n" : " ";
  }
  return data;
}

const std::string& Layer() {
  static const std::string blob = [] {
    const char* path = std::getenv("FLOE_BENCH_LAYER");
    return path != nullptr ? ReadFile(path, kMaxLayerBytes).value() : GzipMember(MadeUpData());
  }();
  return blob;
}

class CountingSink final : public ScanSink {
 public:
  Result<void> OnDecoded(std::span<const std::byte> bytes) override {
    decoded_bytes += static_cast<int64_t>(bytes.size());
    return Ok();
  }
  Result<void> OnUnit(const ScannedUnit& unit) override {
    units.push_back(unit);
    return Ok();
  }
  int64_t decoded_bytes = 0;
  std::vector<ScannedUnit> units;
};

std::string ScanGzip(CountingSink& sink, uint64_t span_bytes) {
  auto scanner = GzipScanner::Create({.span_bytes = span_bytes}, sink);
  return ScanAll(**scanner, Layer(), kFeedBytes).value();
}

// What any reader of the layer pays: zlib, with the checksum, and nothing else.
void BM_PlainInflate(benchmark::State& state) {
  const std::string& blob = Layer();
  std::array<Bytef, 128U << 10U> out;
  int64_t bytes = 0;
  for (auto _ : state) {
    z_stream z = {};
    FLOE_CHECK(inflateInit2(&z, 15 + 16) == Z_OK);
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(blob.data()));
    z.avail_in = static_cast<uInt>(blob.size());
    while (z.avail_in > 0) {
      z.next_out = out.data();
      z.avail_out = out.size();
      const int status = inflate(&z, Z_NO_FLUSH);
      bytes += static_cast<int64_t>(out.size() - z.avail_out);
      if (status == Z_STREAM_END) {
        inflateReset(&z);
      }
    }
    inflateEnd(&z);
  }
  state.SetBytesProcessed(bytes);
}
BENCHMARK(BM_PlainInflate)->Unit(benchmark::kMillisecond);

void BM_GzipScan(benchmark::State& state) {
  int64_t bytes = 0;
  for (auto _ : state) {
    CountingSink sink;
    const std::string windows = ScanGzip(sink, static_cast<uint64_t>(state.range(0)));
    bytes += sink.decoded_bytes;
    state.counters["units"] = static_cast<double>(sink.units.size());
    state.counters["window_bytes"] = static_cast<double>(windows.size());
    state.counters["window_share"] =
        static_cast<double>(windows.size()) / static_cast<double>(Layer().size());
  }
  state.SetBytesProcessed(bytes);
}
BENCHMARK(BM_GzipScan)->RangeMultiplier(2)->Range(64 << 10, 4 << 20)->Unit(benchmark::kMillisecond);

void BM_DecodeGzipUnits(benchmark::State& state) {
  CountingSink sink;
  const std::string windows = ScanGzip(sink, static_cast<uint64_t>(state.range(0)));
  UnitDecoder decoder;
  for (auto _ : state) {
    for (const ScannedUnit& unit : sink.units) {
      benchmark::DoNotOptimize(DecodeUnit(decoder, unit, Layer(), windows).value());
    }
  }
  state.SetBytesProcessed(state.iterations() * sink.decoded_bytes);
}
BENCHMARK(BM_DecodeGzipUnits)
    ->Arg(128 << 10)
    ->Arg(256 << 10)
    ->Arg(1 << 20)
    ->Unit(benchmark::kMillisecond);

void BM_ZstdScan(benchmark::State& state) {
  const std::string data = MadeUpData();
  std::string blob;
  for (size_t at = 0; at < data.size(); at += 1U << 20U) {
    std::string frame(ZSTD_compressBound(1U << 20U), '\0');
    const std::string part = data.substr(at, 1U << 20U);
    frame.resize(ZSTD_compress(frame.data(), frame.size(), part.data(), part.size(), 3));
    blob += frame;
  }
  for (auto _ : state) {
    CountingSink sink;
    auto scanner = ZstdScanner::Create({}, sink);
    benchmark::DoNotOptimize(ScanAll(**scanner, blob, kFeedBytes).value());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(data.size()));
}
BENCHMARK(BM_ZstdScan)->Unit(benchmark::kMillisecond);

LayerIndex MadeUpIndex(int64_t files) {
  std::mt19937_64 random(1);
  return LayerIndex::Create(RandomIndexData(random, static_cast<size_t>(files), 256U << 10U))
      .value();
}

void BM_EncodeIndex(benchmark::State& state) {
  const LayerIndex index = MadeUpIndex(state.range(0));
  for (auto _ : state) {
    const std::string bytes = EncodeLayerIndex(index).value();
    state.counters["bytes"] = static_cast<double>(bytes.size());
  }
}
BENCHMARK(BM_EncodeIndex)->Arg(10000)->Arg(100000)->Unit(benchmark::kMillisecond);

void BM_DecodeIndex(benchmark::State& state) {
  const std::string bytes = EncodeLayerIndex(MadeUpIndex(state.range(0))).value();
  for (auto _ : state) {
    benchmark::DoNotOptimize(DecodeLayerIndex(bytes).value());
  }
}
BENCHMARK(BM_DecodeIndex)->Arg(10000)->Arg(100000)->Unit(benchmark::kMillisecond);

void BM_EncodeBlobMap(benchmark::State& state) {
  const LayerIndex index = MadeUpIndex(state.range(0));
  for (auto _ : state) {
    benchmark::DoNotOptimize(EncodeBlobMap(index, 0));
  }
}
BENCHMARK(BM_EncodeBlobMap)->Arg(100000)->Unit(benchmark::kMillisecond);

void BM_OpenBlobMap(benchmark::State& state) {
  const floe::testing::TempDir directory;
  const std::string bytes = EncodeBlobMap(MadeUpIndex(state.range(0)), 0);
  const std::string key = DeviceKey(bytes);
  FLOE_CHECK(WriteFileAtomically(directory / "map", bytes).has_value());
  for (auto _ : state) {
    benchmark::DoNotOptimize(BlobMap::Open(directory / "map", key).value());
  }
}
BENCHMARK(BM_OpenBlobMap)->Arg(100000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace floe::image
