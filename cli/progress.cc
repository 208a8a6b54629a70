#include "cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

#include <fmt/format.h>

namespace floe::cli {
namespace {

constexpr auto kRedrawInterval = std::chrono::milliseconds(100);
constexpr uint64_t kBarWidth = 30;

std::string Bar(uint64_t done, uint64_t total) {
  uint64_t filled = total == 0 ? 0 : std::min(done, total) * kBarWidth / total;
  return std::string(filled, '#') + std::string(kBarWidth - filled, '.');
}

}  // namespace

ProgressBars::ProgressBars(std::vector<std::string> labels)
    : terminal_(::isatty(STDERR_FILENO) == 1) {
  MutexLock lock(mutex_);
  for (std::string& label : labels) {
    transfers_.push_back({.label = std::move(label)});
  }
}

ProgressBars::~ProgressBars() {
  MutexLock lock(mutex_);
  if (drawn_) {
    Draw();
  }
}

void ProgressBars::Update(size_t transfer, uint64_t bytes_done, uint64_t bytes_total) {
  MutexLock lock(mutex_);
  if (transfer >= transfers_.size()) {
    return;
  }
  Transfer& changed = transfers_[transfer];
  changed.done = bytes_done;
  changed.total = bytes_total;
  if (terminal_) {
    UpdateBars(bytes_done == bytes_total);
  } else {
    UpdateLines(changed);
  }
}

void ProgressBars::UpdateBars(bool complete) {
  auto now = Clock::Real().Now();
  if (complete || now >= next_draw_) {
    next_draw_ = now + kRedrawInterval;
    Draw();
  }
}

void ProgressBars::UpdateLines(Transfer& transfer) {
  if (transfer.done == transfer.total && !transfer.reported) {
    transfer.reported = true;
    fmt::print(stderr, "{}: {}\n", transfer.label, FormatBytes(transfer.total));
  }
}

void ProgressBars::Draw() {
  if (drawn_) {
    fmt::print(stderr, "\x1b[{}A", transfers_.size());
  }
  drawn_ = true;
  for (const Transfer& transfer : transfers_) {
    fmt::print(stderr, "\x1b[2K{:<20} {} {} / {}\n", transfer.label,
               Bar(transfer.done, transfer.total), FormatBytes(transfer.done),
               FormatBytes(transfer.total));
  }
}

std::string FormatBytes(uint64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  if (bytes < 1000) {
    return fmt::format("{} B", bytes);
  }
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace floe::cli
