#include "cachemgr/stream/stream_flights.h"

#include <chrono>

namespace floe::cachemgr {
namespace {

// So often a caller that waits asks whether it is cancelled.
constexpr std::chrono::milliseconds kMoment{200};

}  // namespace

struct StreamFlights::Turn::Flight {
  explicit Flight(StreamRequest wanted) : request(std::move(wanted)) {}
  const StreamRequest request;
  std::atomic<uint64_t> bytes_done = 0;
  std::optional<Outcome> outcome = std::nullopt;  // Guarded by the flights' mutex.
};

StreamFlights::Turn::~Turn() {
  {
    const MutexLock lock(flights_.mutex_);
    flight_->outcome = std::move(outcome_);
    flights_.flights_.erase(flight_->request.digest);
  }
  flights_.landed_.NotifyAll();
}

void StreamFlights::Turn::SetProgress(uint64_t bytes_done) { flight_->bytes_done = bytes_done; }

StreamFlights::Taken StreamFlights::Take(const StreamRequest& request,
                                         const StreamControl& control) {
  for (std::shared_ptr<Flight> flight;;) {
    if (control.cancelled()) {
      return {.outcome = Cancelled("the caller gave up")};
    }
    if (flight == nullptr) {
      if (std::unique_ptr<Turn> turn = TryTake(request, flight)) {
        return {.turn = std::move(turn)};
      }
    }
    WaitABit(flight.get());
    control.progress(flight == nullptr ? 0 : flight->bytes_done.load());
    if (flight == nullptr || !HasLanded(*flight)) {
      continue;
    }
    if (std::optional<Outcome> outcome = OutcomeOf(*flight, request)) {
      return {.outcome = std::move(outcome)};
    }
    flight = nullptr;
  }
}

std::unique_ptr<StreamFlights::Turn> StreamFlights::TryTake(const StreamRequest& request,
                                                            std::shared_ptr<Flight>& blocked_by) {
  const MutexLock lock(mutex_);
  if (const auto found = flights_.find(request.digest); found != flights_.end()) {
    blocked_by = found->second;
    return nullptr;
  }
  if (flights_.size() >= limit_) {
    return nullptr;
  }
  auto flight = std::make_shared<Flight>(request);
  flights_.emplace(request.digest, flight);
  return std::unique_ptr<Turn>(new Turn(*this, std::move(flight)));
}

void StreamFlights::WaitABit(const Flight* flight) {
  const MutexLock lock(mutex_);
  if (flight == nullptr || !flight->outcome.has_value()) {
    landed_.WaitUntil(mutex_, std::chrono::steady_clock::now() + kMoment);
  }
}

bool StreamFlights::HasLanded(const Flight& flight) {
  const MutexLock lock(mutex_);
  return flight.outcome.has_value();
}

std::optional<StreamFlights::Outcome> StreamFlights::OutcomeOf(const Flight& flight,
                                                               const StreamRequest& request) {
  const MutexLock lock(mutex_);
  if (!flight.outcome.has_value() || flight.request != request) {
    return std::nullopt;
  }
  const Outcome& outcome = *flight.outcome;
  const bool cancelled = !outcome.has_value() && outcome.error().code == ErrorCode::kCancelled;
  return cancelled ? std::nullopt : flight.outcome;
}

}  // namespace floe::cachemgr
