#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "base/digest.h"
#include "base/mutex.h"
#include "base/result.h"
#include "cachemgr/stream/streamed_layer.h"

namespace floe::cachemgr {

/// Lets one caller at a time stream a layer, and no more than so many callers at all: the others
/// wait for their turn, or for what the one that streams their layer gets. Thread-safe.
class StreamFlights {
 public:
  using Outcome = Result<std::shared_ptr<const StreamedLayer>>;

  /// The caller streams. What comes out is told to those who wait when this ends.
  class Turn {
   public:
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    /// For those who wait.
    void SetProgress(uint64_t bytes_done);
    void SetOutcome(const Outcome& outcome) { outcome_ = outcome; }

   private:
    friend class StreamFlights;
    struct Flight;
    Turn(StreamFlights& flights, std::shared_ptr<Flight> flight)
        : flights_(flights), flight_(std::move(flight)) {}

    StreamFlights& flights_;
    const std::shared_ptr<Flight> flight_;
    Outcome outcome_ = Cancelled("the stream was given up");
  };
  /// One of the two.
  struct Taken {
    std::unique_ptr<Turn> turn = nullptr;
    std::optional<Outcome> outcome = std::nullopt;
  };

  /// At most `limit` turns at a time.
  explicit StreamFlights(size_t limit) : limit_(limit) {}

  /// Waits for the caller's turn, or for the outcome of another call with the same request. Who
  /// waits for one that is cancelled gets a turn. Cancelled: `control` said so.
  Taken Take(const StreamRequest& request, const StreamControl& control);

 private:
  using Flight = Turn::Flight;

  /// A turn; else what the caller has to wait for (null: for anybody to land).
  std::unique_ptr<Turn> TryTake(const StreamRequest& request, std::shared_ptr<Flight>& blocked_by);
  /// Until the flight (null: any) has landed, or for a moment.
  void WaitABit(const Flight* flight);
  [[nodiscard]] bool HasLanded(const Flight& flight);
  /// Once it has landed; nothing when it is not for this caller.
  std::optional<Outcome> OutcomeOf(const Flight& flight, const StreamRequest& request);

  const size_t limit_;
  Mutex mutex_;
  CondVar landed_;
  std::map<Digest, std::shared_ptr<Flight>> flights_ FLOE_GUARDED_BY(mutex_);
};

}  // namespace floe::cachemgr
