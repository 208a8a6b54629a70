#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "image/layer_scanner.h"

namespace floe::image {

/// Hands what a scanner delivers to another sink on a thread of its own ("index"), so that decoding
/// and what is done with the bytes run side by side. The sink gets the same bytes and units in the
/// same order; bytes of several calls may come together. What waits is kept here: at most
/// kMaxBatches of kBatchBytes.
///
///     scanner -> OnDecoded, OnUnit -> | batch | batch | ... -> the sink, on "index"
///
/// An error of the sink ends the reading: the next call returns it. Calls come from one thread.
class ScanPipeline final : public ScanSink {
 public:
  static constexpr size_t kBatchBytes = 256U << 10U;
  static constexpr size_t kMaxBatches = 8;

  /// `sink` must outlive this; nothing else may use it until Finish has returned.
  explicit ScanPipeline(ScanSink& sink);
  /// Without Finish what still waits is dropped.
  ~ScanPipeline() override;
  ScanPipeline(const ScanPipeline&) = delete;
  ScanPipeline& operator=(const ScanPipeline&) = delete;

  Result<void> OnDecoded(std::span<const std::byte> bytes) override;
  Result<void> OnUnit(const ScannedUnit& unit) override;
  /// Waits until the sink has got everything. The thread has ended afterwards.
  Result<void> Finish();

 private:
  /// Bytes, and the units that end in them.
  struct Batch {
    struct UnitEnd {
      size_t at = 0;  ///< The unit ends before this byte of the batch.
      ScannedUnit unit;
    };
    std::vector<std::byte> bytes = {};
    std::vector<UnitEnd> units = {};
  };

  Result<void> Push();
  void Run();
  std::optional<Batch> Pop();
  Result<void> Deliver(const Batch& batch);

  ScanSink& sink_;
  Batch filling_;  ///< Of the calling thread.

  Mutex mutex_;
  CondVar changed_;
  std::deque<Batch> waiting_ FLOE_GUARDED_BY(mutex_);
  std::vector<Batch> spare_ FLOE_GUARDED_BY(mutex_);  ///< Used ones, for their memory.
  bool closed_ FLOE_GUARDED_BY(mutex_) = false;
  Result<void> outcome_ FLOE_GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace floe::image
