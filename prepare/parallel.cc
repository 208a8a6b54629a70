#include "prepare/parallel.h"

#include <algorithm>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"
#include "base/thread_name.h"

namespace floe::prepare {
namespace {

class Pieces {
 public:
  Pieces(size_t count, const ParallelWork& work) : count_(count), work_(work) {}

  void Work() {
    while (!failed_.load()) {
      size_t index = next_.fetch_add(1);
      if (index >= count_) {
        return;
      }
      if (auto done = work_(index, failed_); !done) {
        Fail(std::move(done).error());
      }
    }
  }

  Result<void> result() {
    MutexLock lock(mutex_);
    return error_ ? Result<void>(*error_) : Ok();
  }

 private:
  void Fail(Error error) {
    MutexLock lock(mutex_);
    if (!error_) {
      error_ = std::move(error);
    }
    failed_.store(true);
  }

  const size_t count_;
  const ParallelWork& work_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> failed_{false};
  Mutex mutex_;
  std::optional<Error> error_ FLOE_GUARDED_BY(mutex_);
};

}  // namespace

Result<void> ForEachParallel(size_t count, size_t width, const ParallelWork& work) {
  Pieces pieces(count, work);
  {
    std::vector<std::jthread> helpers;
    try {
      for (size_t i = 1; i < std::min(count, width); ++i) {
        helpers.emplace_back([&pieces] {
          SetThreadName("prepare");
          pieces.Work();
        });
      }
    } catch (const std::system_error& error) {
      LogWarning("fewer threads than wanted threads={} reason=\"{}\"", helpers.size() + 1,
                 error.what());
    }
    pieces.Work();
  }
  return pieces.result();
}

}  // namespace floe::prepare
