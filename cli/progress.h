#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"

namespace floe::cli {

/// Progress of several transfers on standard error: bars that redraw on a terminal, otherwise one
/// line for each transfer when it is complete (results go to standard output either way).
/// Thread-safe.
class ProgressBars {
 public:
  /// `labels`: one short text for each transfer.
  explicit ProgressBars(std::vector<std::string> labels);
  ~ProgressBars();
  ProgressBars(const ProgressBars&) = delete;
  ProgressBars& operator=(const ProgressBars&) = delete;

  void Update(size_t transfer, uint64_t bytes_done, uint64_t bytes_total);

 private:
  struct Transfer {
    std::string label;
    uint64_t done = 0, total = 0;
    bool reported = false;  ///< Its plain line was written.
  };
  void Draw() FLOE_REQUIRES(mutex_);
  void UpdateBars(bool complete) FLOE_REQUIRES(mutex_);
  void UpdateLines(Transfer& transfer) FLOE_REQUIRES(mutex_);

  const bool terminal_;
  Mutex mutex_;
  std::vector<Transfer> transfers_ FLOE_GUARDED_BY(mutex_);
  bool drawn_ FLOE_GUARDED_BY(mutex_) = false;
  Clock::TimePoint next_draw_ FLOE_GUARDED_BY(mutex_);
};

/// "84.8 MB", decimal units as registries use them.
std::string FormatBytes(uint64_t bytes);

}  // namespace floe::cli
