// The cache after a kill and after a power cut: what its processes did to the disk is recorded, cut
// at every sync and at random points between, and opened again. FLOE_POWER_CUT_ROUNDS (20): how
// many histories.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "base/log.h"
#include "cachemgr/cache/blob_cache.h"
#include "cachemgr/cache/unit_filler.h"
#include "tests/cachemgr/test_blob.h"
#include "tests/support/disk_log.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::cachemgr::testing {
namespace {

using floe::testing::DiskLog;
using floe::testing::DiskState;
using Kind = DiskLog::Operation::Kind;

constexpr int kProcesses = 3;  // In each history, one after the other.

int Rounds() {
  const char* const rounds = std::getenv("FLOE_POWER_CUT_ROUNDS");
  return rounds == nullptr ? 20 : std::atoi(rounds);
}

struct Tally {
  uint64_t cuts = 0;
  uint64_t wrong = 0;          ///< Cuts after which a byte was wrong.
  uint64_t served = 0;         ///< Groups that were there before the cut.
  uint64_t fetched_again = 0;  ///< Those of them that are not after it.
  uint64_t durable = 0;        ///< Groups that a checkpoint had made durable.
  uint64_t durable_again = 0;
  void Print(const char* what) const {
    std::printf(
        "%s: %llu cuts, %llu with a wrong byte; of %llu groups served %llu (%.1f %%) to be "
        "fetched again; of %llu durable ones %llu\n",
        what, static_cast<unsigned long long>(cuts), static_cast<unsigned long long>(wrong),
        static_cast<unsigned long long>(served), static_cast<unsigned long long>(fetched_again),
        served == 0 ? 0.0
                    : 100.0 * static_cast<double>(fetched_again) / static_cast<double>(served),
        static_cast<unsigned long long>(durable), static_cast<unsigned long long>(durable_again));
  }
};

class PowerCutTest : public ::testing::Test {
 protected:
  void SetUp() override {
    InitLogging("power_cut", LogLevel::kError);  // Damage is warned of, many times.
    blob_ = TestBlob::Make({.file_bytes = {10000, 4096, 1, 30000, 70000, 5, 9000, 200000},
                            .unit_bytes = 16384,
                            .group_bytes = 4096});
    FLOE_ASSERT_OK_AND_ASSIGN(
        map_, image::BlobMap::Open(blob_.Store(root_.path() / "maps") / "map", blob_.key));
    FLOE_ASSERT_OK(CreateDirectories(Directory()));
    FLOE_ASSERT_OK(CreateDirectories(Inodes()));
  }

  std::filesystem::path Directory() const { return root_.path() / "blob"; }
  std::filesystem::path Inodes() const { return root_.path() / "inodes"; }

  /// How many groups were there, and how many of them durable, before each operation of the log.
  struct Progress {
    size_t operations = 0;
    std::set<uint32_t> served = {};
    std::set<uint32_t> durable = {};
  };

  std::set<uint32_t> Present(const BlobCache& cache) const {
    std::set<uint32_t> groups;
    for (uint32_t group = 0; group < map_->group_count(); ++group) {
      if (cache.IsGroupPresent(group) && map_->group(group).extent_count > 0) {
        groups.insert(group);
      }
    }
    return groups;
  }

  // A process: opens the cache, fills some units in some order, checkpoints now and then.
  std::vector<Progress> Work(const DiskLog& log, const std::string& boot_id,
                             const std::set<uint32_t>& durable_before) {
    std::vector<Progress> progress;
    auto cache = BlobCache::Open(Directory(), *map_, boot_id);
    EXPECT_TRUE(cache.has_value());
    if (!cache) {
      return progress;
    }
    std::set<uint32_t> durable = durable_before;
    const auto note = [&] {
      progress.push_back(
          {.operations = log.operations().size(), .served = Present(**cache), .durable = durable});
    };
    note();
    std::vector<uint32_t> units(map_->unit_count());
    std::iota(units.begin(), units.end(), 0U);
    std::ranges::shuffle(units, random_);
    const size_t count = random_() % 3 == 0 ? units.size() : random_() % units.size();
    UnitFiller filler;
    for (size_t i = 0; i < count; ++i) {
      const ByteRange range = map_->unit(units[i]).range;
      FLOE_EXPECT_OK(filler.Fill(
          *map_, **cache, units[i],
          std::as_bytes(std::span(blob_.blob)).subspan(range.offset, range.length), {}));
      note();
      if (random_() % 4 == 0) {
        const auto before = Present(**cache);
        FLOE_EXPECT_OK((*cache)->Checkpoint());
        durable = before;
        note();
      }
    }
    if (random_() % 2 == 0) {
      FLOE_EXPECT_OK((*cache)->Checkpoint());
      durable = Present(**cache);
      note();
    }
    return progress;
  }

  // Opens what is left as a process would and compares all that it would serve.
  bool AllIsRight(const DiskState& state, const std::string& boot_id, std::set<uint32_t>& left) {
    DiskLog::Restore(state, Directory(), Inodes());
    auto cache = BlobCache::Open(Directory(), *map_, boot_id);
    EXPECT_TRUE(cache.has_value());
    if (!cache) {
      return false;
    }
    left = Present(**cache);
    std::string device(blob_.device.size(), '?');
    EXPECT_TRUE(PreadAll((*cache)->data_fd(), std::as_writable_bytes(std::span(device)), 0));
    const auto same = [&](ByteRange range) {
      return device.compare(range.offset, range.length, blob_.device, range.offset, range.length) ==
             0;
    };
    if ((*cache)->complete() && device != blob_.device) {
      return false;
    }
    for (const uint32_t group : left) {
      const image::GroupView view = map_->group(group);
      for (uint32_t n = 0; n < view.extent_count; ++n) {
        const image::ExtentView extent = map_->GroupExtent(view, n);
        if (!same({.offset = extent.device_offset, .length = extent.length})) {
          return false;
        }
      }
    }
    return std::ranges::all_of((*cache)->Blanks({.offset = 0, .length = device.size()}), same);
  }

  void Count(Tally& tally, const DiskState& state, const std::string& boot_id,
             const Progress& progress) {
    std::set<uint32_t> left;
    ++tally.cuts;
    tally.wrong += AllIsRight(state, boot_id, left) ? 0 : 1;
    const auto lost = [&](const std::set<uint32_t>& groups) {
      return static_cast<uint64_t>(
          std::ranges::count_if(groups, [&](uint32_t group) { return !left.contains(group); }));
    };
    tally.served += progress.served.size();
    tally.fetched_again += lost(progress.served);
    tally.durable += progress.durable.size();
    tally.durable_again += lost(progress.durable);
  }

  // Every sync, the operation before it, and as many points at random.
  std::set<size_t> Cuts(const DiskLog& log) {
    std::set<size_t> cuts = {log.operations().size()};
    for (size_t i = 0; i < log.operations().size(); ++i) {
      const Kind kind = log.operations()[i].kind;
      if (kind == Kind::kSync || kind == Kind::kSyncDirectory) {
        cuts.insert({i, i + 1, random_() % (log.operations().size() + 1)});
      }
    }
    for (int i = 0; i < 5; ++i) {
      cuts.insert(random_() % (log.operations().size() + 1));
    }
    return cuts;
  }

  DiskState PowerCut(const DiskLog& log, size_t count, bool syncs_count = true) {
    constexpr std::array<unsigned, 5> kPercent = {0, 10, 50, 90, 100};
    const unsigned percent = kPercent[random_() % kPercent.size()];
    return log.PowerCut(count, [&] { return random_() % 100 < percent; }, syncs_count);
  }

  // Somebody else meddles with the files between two processes.
  void Damage(DiskState& state) {
    if (state.names.empty()) {
      return;
    }
    auto victim = state.names.begin();
    std::advance(victim, static_cast<ptrdiff_t>(random_() % state.names.size()));
    std::string& contents = state.contents[victim->second];
    const bool is_data = victim->first == "data";
    switch (random_() % (is_data ? 2 : 3)) {  // A changed byte of the data cannot be noticed.
      case 0:
        state.names.erase(victim);
        return;
      case 1:
        contents.resize(random_() % (contents.size() + 1));
        return;
      default:
        if (!contents.empty()) {
          contents[random_() % contents.size()] ^= static_cast<char>(1U + random_() % 255);
        }
    }
  }

  static const Progress& At(const std::vector<Progress>& progress, size_t operations) {
    const auto next = std::ranges::upper_bound(progress, operations, {}, &Progress::operations);
    return next == progress.begin() ? progress.front() : *std::prev(next);
  }

  void History(Tally& killed, Tally& cut) {
    DiskState state;
    std::string boot_id = "boot-0";
    std::set<uint32_t> durable;
    for (int process = 0; process < kProcesses; ++process) {
      DiskLog log(Directory(), Inodes(), state);
      const std::vector<Progress> progress = Work(log, boot_id, durable);
      log.Stop();
      ASSERT_FALSE(progress.empty());
      Progress nothing;
      const std::string next_boot = boot_id + "+";
      std::vector<DiskState> candidates;
      for (const size_t count : Cuts(log)) {
        const bool opened = count >= progress.front().operations;
        const Progress& then = opened ? At(progress, count) : nothing;
        Count(killed, log.Killed(count), boot_id, then);
        candidates.push_back(PowerCut(log, count));
        Count(cut, candidates.back(), next_boot, then);
      }
      durable.clear();  // Which of them counts is known no more once something was damaged.
      if (random_() % 2 == 0) {
        state = log.Killed(random_() % (log.operations().size() + 1));
      } else {
        state = candidates[random_() % candidates.size()];
        boot_id = next_boot;
      }
      if (random_() % 3 == 0) {
        Damage(state);
      }
    }
  }

  floe::testing::TempDir root_;
  TestBlob blob_;
  std::unique_ptr<image::BlobMap> map_;
  std::mt19937 random_{20261123};  // NOLINT(cert-msc51-cpp): the same in every run.
};

TEST_F(PowerCutTest, NothingWrongIsServedAfterACut) {
  Tally killed;
  Tally cut;
  for (int round = 0; round < Rounds(); ++round) {
    History(killed, cut);
  }
  killed.Print("killed");
  cut.Print("power cut");
  EXPECT_GT(cut.cuts, 10U * static_cast<uint64_t>(Rounds()));
  EXPECT_EQ(killed.wrong, 0U);
  EXPECT_EQ(cut.wrong, 0U);
  EXPECT_EQ(killed.fetched_again, 0U) << "the page cache outlives the process";
  EXPECT_EQ(cut.durable_again, 0U) << "a checkpoint promises that they are kept";
}

// The same with a disk that takes no sync in earnest: the simulation finds what goes wrong then.
TEST_F(PowerCutTest, ADiskThatIgnoresSyncsIsFoundOut) {
  Tally cut;
  for (int round = 0; round < Rounds(); ++round) {
    DiskLog log(Directory(), Inodes(), {});
    const std::vector<Progress> progress = Work(log, "boot-0", {});
    log.Stop();
    for (const size_t count : Cuts(log)) {
      Count(cut, PowerCut(log, count, /*syncs_count=*/false), "boot-1", progress.front());
    }
  }
  cut.Print("a disk that ignores syncs");
  EXPECT_GT(cut.wrong, 0U);
}

}  // namespace
}  // namespace floe::cachemgr::testing
