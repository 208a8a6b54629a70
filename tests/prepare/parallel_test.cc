#include "prepare/parallel.h"

#include <atomic>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "base/mutex.h"
#include "tests/support/result_matchers.h"

namespace floe::prepare {
namespace {

TEST(ForEachParallelTest, RunsEveryPieceOnce) {
  Mutex mutex;
  std::multiset<size_t> done;
  FLOE_ASSERT_OK(ForEachParallel(100, 4, [&](size_t index, const std::atomic<bool>&) {
    MutexLock lock(mutex);
    done.insert(index);
    return Ok();
  }));
  EXPECT_EQ(done.size(), 100U);
  EXPECT_EQ(std::set<size_t>(done.begin(), done.end()).size(), 100U);
}

TEST(ForEachParallelTest, NothingToDoIsFine) {
  FLOE_EXPECT_OK(ForEachParallel(
      0, 4, [](size_t, const std::atomic<bool>&) -> Result<void> { return Internal("ran"); }));
}

TEST(ForEachParallelTest, KeepsToTheWidth) {
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  FLOE_ASSERT_OK(ForEachParallel(50, 3, [&](size_t, const std::atomic<bool>&) {
    int now = running.fetch_add(1) + 1;
    int seen = most.load();
    while (seen < now && !most.compare_exchange_weak(seen, now)) {
    }
    std::this_thread::yield();
    running.fetch_sub(1);
    return Ok();
  }));
  EXPECT_LE(most.load(), 3);
}

TEST(ForEachParallelTest, FirstErrorEndsTheRest) {
  std::atomic<int> ran{0};
  FLOE_EXPECT_ERROR(ForEachParallel(1000, 1,
                                    [&](size_t index, const std::atomic<bool>&) -> Result<void> {
                                      ran.fetch_add(1);
                                      return index == 3 ? Result<void>(DataLoss("piece three"))
                                                        : Ok();
                                    }),
                    ErrorCode::kDataLoss, "piece three");
  EXPECT_EQ(ran.load(), 4);
}

TEST(ForEachParallelTest, LongWorkSeesThatAnotherFailed) {
  FLOE_EXPECT_ERROR(
      ForEachParallel(2, 2,
                      [&](size_t index, const std::atomic<bool>& failed) -> Result<void> {
                        if (index == 0) {
                          return DataLoss("the cause");
                        }
                        while (!failed.load()) {
                          std::this_thread::yield();
                        }
                        return Cancelled("the consequence");
                      }),
      ErrorCode::kDataLoss, "the cause");
}

}  // namespace
}  // namespace floe::prepare
