#include "image/scan_pipeline.h"

#include <algorithm>
#include <utility>

#include "base/thread_name.h"

namespace floe::image {

ScanPipeline::ScanPipeline(ScanSink& sink) : sink_(sink), thread_([this] { Run(); }) {}

ScanPipeline::~ScanPipeline() {
  {
    const MutexLock lock(mutex_);
    waiting_.clear();
    closed_ = true;
  }
  changed_.NotifyAll();
}

Result<void> ScanPipeline::OnDecoded(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(bytes.size(), kBatchBytes - filling_.bytes.size()));
    filling_.bytes.insert(filling_.bytes.end(), part.begin(), part.end());
    bytes = bytes.subspan(part.size());
    if (filling_.bytes.size() == kBatchBytes) {
      FLOE_RETURN_IF_ERROR(Push());
    }
  }
  return Ok();
}

Result<void> ScanPipeline::OnUnit(const ScannedUnit& unit) {
  filling_.units.push_back({.at = filling_.bytes.size(), .unit = unit});
  return Ok();
}

Result<void> ScanPipeline::Push() {
  {
    const MutexLock lock(mutex_);
    while (waiting_.size() == kMaxBatches && outcome_.has_value()) {
      changed_.Wait(mutex_);
    }
    FLOE_RETURN_IF_ERROR(outcome_);
    waiting_.push_back(std::exchange(filling_, {}));
    if (!spare_.empty()) {
      filling_ = std::move(spare_.back());
      spare_.pop_back();
    }
  }
  changed_.NotifyAll();
  filling_.bytes.reserve(kBatchBytes);
  return Ok();
}

Result<void> ScanPipeline::Finish() {
  const Result<void> pushed = Push();
  {
    const MutexLock lock(mutex_);
    closed_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
  FLOE_RETURN_IF_ERROR(pushed);
  const MutexLock lock(mutex_);
  return outcome_;
}

void ScanPipeline::Run() {
  SetThreadName("index");
  while (std::optional<Batch> batch = Pop()) {
    Result<void> delivered = Deliver(*batch);
    batch->bytes.clear();
    batch->units.clear();
    const MutexLock lock(mutex_);
    spare_.push_back(std::move(*batch));
    if (!delivered.has_value()) {
      outcome_ = std::move(delivered);
      waiting_.clear();
      changed_.NotifyAll();
      return;
    }
  }
}

std::optional<ScanPipeline::Batch> ScanPipeline::Pop() {
  std::optional<Batch> batch;
  {
    const MutexLock lock(mutex_);
    while (waiting_.empty()) {
      if (closed_) {
        return std::nullopt;
      }
      changed_.Wait(mutex_);
    }
    batch = std::move(waiting_.front());
    waiting_.pop_front();
  }
  changed_.NotifyAll();
  return batch;
}

Result<void> ScanPipeline::Deliver(const Batch& batch) {
  const std::span<const std::byte> bytes(batch.bytes);
  size_t done = 0;
  const auto deliver = [&](size_t end) -> Result<void> {
    const auto part = bytes.subspan(done, end - done);
    done = end;
    return part.empty() ? Ok() : sink_.OnDecoded(part);
  };
  for (const Batch::UnitEnd& end : batch.units) {
    FLOE_RETURN_IF_ERROR(deliver(end.at));
    FLOE_RETURN_IF_ERROR(sink_.OnUnit(end.unit));
  }
  return deliver(bytes.size());
}

}  // namespace floe::image
