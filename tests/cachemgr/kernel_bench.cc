// Reads through the kernel: needs root; run it alone. Each case reads bytes that the page cache of
// the mount has never seen, so that every read reaches the channel.
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include "base/check.h"
#include "base/file.h"
#include "cachemgr/manager.h"
#include "tests/cachemgr/fake_registry_client.h"
#include "tests/cachemgr/kernel_fixture.h"
#include "tests/cachemgr/test_blob.h"
#include "tests/support/temp_dir.h"

namespace floe::cachemgr::testing {
namespace {

constexpr uint64_t kFileBytes = 256ULL << 20U;

const TestBlob& Blob() {
  static const TestBlob kBlob = TestBlob::Make(
      {.file_bytes = {kFileBytes}, .unit_bytes = 256U << 10U, .group_bytes = 256U << 10U});
  return kBlob;
}

// A fresh cache manager with the blob mounted.
class Bench {
 public:
  Bench(const std::string& channel, unsigned readers) {
    FLOE_CHECK(EnterPrivateMountNamespace().has_value());
    FLOE_CHECK(CreateDirectories(directory_ / "target").has_value());
    FLOE_CHECK(WriteFileAtomically(directory_ / "map", Blob().map).has_value());
    FLOE_CHECK(WriteFileAtomically(directory_ / "bootstrap", Blob().Bootstrap()).has_value());
    auto client = std::make_unique<FakeRegistryClient>();
    client->AddBlob(Blob().blob);
    auto held = std::make_shared<std::unique_ptr<FakeRegistryClient>>(std::move(client));
    auto manager = Manager::Create(
        {.root = directory_ / "root", .channel = channel, .readers = readers},
        [held](const std::string&) -> Result<std::unique_ptr<fetcher::RegistryClient>> {
          return std::unique_ptr<fetcher::RegistryClient>(std::move(*held));
        },
        Clock::Real());
    FLOE_CHECK(manager.has_value());
    manager_ = std::move(*manager);
  }
  ~Bench() {
    FLOE_CHECK(manager_->Unmount("image", true).has_value());
    manager_.reset();
  }

  void Mount() {
    MountRequest request;
    request.id = "image";
    request.bootstrap = directory_ / "bootstrap";
    request.bootstrap_digest = Digest::Of(Blob().Bootstrap());
    request.devices.push_back(
        {.key = Blob().key,
         .blob_map = directory_ / "map",
         .sources = {{.repository = {.registry = "registry", .path = "app"}}}});
    request.target = directory_ / "target";
    FLOE_CHECK(manager_->Mount(request).has_value());
  }
  // Complete, and mounted without the daemon in the path; no page of the new mount is cached.
  void FillAndMountAnew() {
    Mount();
    ReadAll();
    FLOE_CHECK(manager_->Unmount("image", false).has_value());
    Mount();
  }
  UniqueFd Open() {
    auto fd = OpenFile(directory_ / "target" / "f0", O_RDONLY);
    FLOE_CHECK(fd.has_value());
    return std::move(*fd);
  }
  void ReadAll() {
    const UniqueFd fd = Open();
    std::vector<std::byte> buffer(1U << 20U);
    for (uint64_t at = 0; at < kFileBytes; at += buffer.size()) {
      FLOE_CHECK(PreadAll(fd.get(), buffer, at).has_value());
    }
  }
  Manager& manager() { return *manager_; }

 private:
  floe::testing::TempDir directory_;
  std::unique_ptr<Manager> manager_;
};

std::vector<uint64_t> ShuffledBlocks() {
  std::vector<uint64_t> blocks(kFileBytes / 4096);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::ranges::shuffle(blocks, std::mt19937(1));
  return blocks;
}

const char* ChannelOf(const benchmark::State& state) {
  return state.range(0) == 0 ? "auto" : "fuse-loop";
}

// Units are made present by one read each; then random 4 KiB reads of bytes not read before.
void RandomReadsOfPresentData(benchmark::State& state) {
  constexpr uint64_t kUnit = 256ULL << 10U;
  const auto threads = static_cast<size_t>(state.range(2));
  for (auto _ : state) {
    state.PauseTiming();
    Bench bench(ChannelOf(state), static_cast<unsigned>(state.range(1)));
    bench.Mount();
    {
      const UniqueFd fd = bench.Open();
      FLOE_CHECK(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM) == 0);
      std::vector<std::byte> buffer(1);
      for (uint64_t at = 0; at < kFileBytes; at += kUnit) {
        FLOE_CHECK(PreadAll(fd.get(), buffer, at + kUnit / 2).has_value());
      }
    }
    const std::vector<uint64_t> blocks = ShuffledBlocks();
    const uint64_t before = bench.manager().counters().reads_hit;
    state.ResumeTiming();
    {
      std::vector<std::jthread> readers;
      for (size_t t = 0; t < threads; ++t) {
        readers.emplace_back([&, t] {
          const UniqueFd fd = bench.Open();
          FLOE_CHECK(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM) == 0);
          std::vector<std::byte> buffer(4096);
          for (size_t i = t; i < 20000; i += threads) {
            FLOE_CHECK(PreadAll(fd.get(), buffer, blocks[i] * 4096).has_value());
          }
        });
      }
    }
    state.PauseTiming();
    state.counters["requests"] = static_cast<double>(bench.manager().counters().reads_hit - before);
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * 20000);
}
BENCHMARK(RandomReadsOfPresentData)
    ->ArgNames({"loop", "readers", "threads"})
    ->Args({0, 1, 1})
    ->Args({0, 2, 1})
    ->Args({0, 4, 1})
    ->Args({0, 1, 4})
    ->Args({0, 2, 4})
    ->Args({0, 4, 4})
    ->Args({1, 2, 1})
    ->Iterations(1)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// The registry answers at once: what is left is our own work.
void SequentialReadOfAbsentData(benchmark::State& state) {
  for (auto _ : state) {
    state.PauseTiming();
    Bench bench(ChannelOf(state), 2);
    bench.Mount();
    state.ResumeTiming();
    bench.ReadAll();
    state.PauseTiming();
    state.counters["requests"] = static_cast<double>(bench.manager().RegistryRequests());
    state.ResumeTiming();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(kFileBytes));
}
BENCHMARK(SequentialReadOfAbsentData)
    ->ArgName("loop")
    ->Arg(0)
    ->Arg(1)
    ->Iterations(1)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void SequentialReadOfCompleteData(benchmark::State& state) {
  for (auto _ : state) {
    state.PauseTiming();
    Bench bench("auto", 2);
    bench.FillAndMountAnew();
    state.ResumeTiming();
    bench.ReadAll();
    state.PauseTiming();
    state.ResumeTiming();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(kFileBytes));
}
BENCHMARK(SequentialReadOfCompleteData)
    ->Iterations(1)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace floe::cachemgr::testing
