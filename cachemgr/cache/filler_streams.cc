// How a Filler fills streamed units (stream_fill.h).
#include <algorithm>
#include <iterator>
#include <utility>

#include "base/log.h"
#include "cachemgr/cache/blob.h"
#include "cachemgr/cache/filler.h"

namespace floe::cachemgr {
namespace {

// Fetched while another part is decoded.
constexpr size_t kPartsAhead = 2;
// The first parts are so much smaller than the largest: a reader waits for the first slices.
constexpr uint64_t kFirstPartDivisor = 4;
// Of decoded bytes: a part that compressed well is worked on in several turns, so that other
// blobs' fills come between.
constexpr uint64_t kTurnBytes = 16U << 20U;

std::span<const std::byte> RestOfPart(const StreamFill& stream) {
  const MutexLock lock(stream.part->mutex);  // The bytes do not change any more.
  return std::as_bytes(std::span(stream.part->data.bytes)).subspan(stream.used);
}

}  // namespace

void Filler::StartStream(const std::shared_ptr<Flight>& flight, const FetchTask& task) {
  FetchTask first = task;
  first.attempt = 0;
  {
    FlightTable& table = task.blob->flights();
    const MutexLock lock(table.mutex);
    first.first_source = table.stream_source;
  }
  auto stream =
      std::make_shared<StreamFill>(flight, first, task.blob->map().unit(flight->unit).range);
  if (task.prefetch) {
    ++prefetch_requests_;
  }
  const Result<void> requested = RequestParts(stream);
  if (stream->fetch_at == stream->range.offset) {
    StreamEnded(stream, requested);
  } else {
    EndTurn(stream);
  }
}

// --- fetching: whoever has the turn ---

Result<void> Filler::RequestParts(const std::shared_ptr<StreamFill>& stream) {
  for (;;) {
    {
      const MutexLock lock(stream->mutex);
      if (stream->parts.size() >= kPartsAhead || stream->fetch_at == stream->range.end()) {
        return Ok();
      }
    }
    const uint64_t least = std::max<uint64_t>(1, options_.stream_part_bytes / kFirstPartDivisor);
    const uint64_t length = std::clamp(stream->fetch_at - stream->range.offset, least,
                                       std::max(least, options_.stream_part_bytes));
    const ByteRange range{.offset = stream->fetch_at,
                          .length = std::min(length, stream->range.end() - stream->fetch_at)};
    FLOE_RETURN_IF_ERROR(RequestPart(stream, range, /*first=*/false));
    stream->fetch_at = range.end();
  }
}

Result<void> Filler::RequestPart(const std::shared_ptr<StreamFill>& stream, ByteRange range,
                                 bool first) {
  auto job = std::make_shared<FetchJob>();
  job->task = stream->task;
  job->task.prefetch = false;  // The stream has the slot.
  job->flights = {stream->flight};
  job->stream = stream;
  job->plan = {.units = {stream->flight->unit}, .range = range, .windows = {}};
  {
    const MutexLock lock(stream->mutex);
    stream->parts.insert(first ? stream->parts.begin() : stream->parts.end(), {.job = job});
  }
  auto started = StartJob(job);
  if (!started) {
    const MutexLock lock(stream->mutex);
    std::erase_if(stream->parts, [&](const StreamFill::Part& part) { return part.job == job; });
  }
  return started;
}

void Filler::PartOfStreamArrived(const FetchJob& job) {
  bool next = false;
  {
    const MutexLock lock(job.stream->mutex);
    const auto found = std::ranges::find_if(
        job.stream->parts, [&](const StreamFill::Part& part) { return part.job.get() == &job; });
    if (found == job.stream->parts.end()) {
      return;  // The stream has ended.
    }
    found->arrived = true;
    next = found == job.stream->parts.begin() && !std::exchange(job.stream->has_turn, true);
  }
  if (next) {
    QueueTurn(job.stream);
  }
}

void Filler::EndTurn(const std::shared_ptr<StreamFill>& stream) {
  {
    const MutexLock lock(stream->mutex);
    stream->has_turn = !stream->parts.empty() && stream->parts.front().arrived;
    if (!stream->has_turn) {
      return;
    }
  }
  QueueTurn(stream);
}

void Filler::QueueTurn(const std::shared_ptr<StreamFill>& stream) {
  queue_.Push({.step = Step::kStream, .stream = stream},
              stream->flight->demand ? Priority::kDemand : Priority::kPrefetch);
}

void Filler::CancelParts(StreamFill& stream) {
  std::deque<StreamFill::Part> parts;
  {
    const MutexLock lock(stream.mutex);
    parts.swap(stream.parts);
  }
  Handles cancelled;  // Destroyed without the lock.
  const MutexLock lock(mutex_);
  for (const StreamFill::Part& part : parts) {
    if (auto found = active_.find(part.job); found != active_.end()) {
      std::ranges::move(found->second, std::back_inserter(cancelled));
      found->second.clear();
    }
  }
}

// --- decoding: on a worker's thread ---

void Filler::RunStream(const std::shared_ptr<StreamFill>& stream, UnitFiller& filler) {
  if (stream->part == nullptr) {
    if (!TakePart(stream)) {
      return;
    }
    (void)RequestParts(stream);  // Asked again when this part is used up.
  }
  const Result<SliceDecoder::Next> next = FillSlices(*stream, filler);
  if (!next) {
    StreamEnded(stream, next.error());
    return;
  }
  GiveMoreTime(*stream);  // What is there already is passed over without a slice.
  switch (*next) {
    case SliceDecoder::Next::kSlice:
    case SliceDecoder::Next::kPause:
      QueueTurn(stream);
      return;
    case SliceDecoder::Next::kDone:
      StreamEnded(stream, Ok());
      return;
    case SliceDecoder::Next::kInput:
      PartUsedUp(stream);
      return;
  }
}

bool Filler::TakePart(const std::shared_ptr<StreamFill>& stream) {
  std::shared_ptr<FetchJob> job;
  {
    const MutexLock lock(stream->mutex);
    job = std::move(stream->parts.front().job);
    stream->parts.pop_front();
  }
  {
    const MutexLock lock(job->mutex);
    if (!job->data.error) {
      stream->part = job;
      stream->used = 0;
    }
  }
  if (stream->part == nullptr) {
    StreamPartFailed(stream, *job);
    return false;
  }
  if (job->task.source() == stream->task.source()) {
    stream->task.first_source = stream->task.source();
    stream->task.attempt = 0;
  }
  return true;
}

// Parts that are on their way from a source that failed meanwhile are asked for at the next one,
// too: that counts as no attempt.
void Filler::StreamPartFailed(const std::shared_ptr<StreamFill>& stream, FetchJob& job) {
  FetchAnswer answer;
  {
    const MutexLock lock(job.mutex);
    std::swap(answer, job.data);
  }
  const Error error = answer.error.value_or(Internal("a fetch without a reason"));
  const bool other_source = job.task.source() != stream->task.source();
  const bool again =
      error.code != ErrorCode::kCancelled && (other_source || MayTryAgain(stream->task, error));
  Report(job, /*windows=*/false, job.plan.range, answer.retries, error, again);
  if (!again) {
    StreamEnded(stream, error);
    return;
  }
  stream->task.attempt += other_source ? 0 : 1;
  if (auto requested = RequestPart(stream, job.plan.range, /*first=*/true); !requested) {
    StreamEnded(stream, requested);
    return;
  }
  EndTurn(stream);
}

void Filler::PartUsedUp(const std::shared_ptr<StreamFill>& stream) {
  Result<void> requested = RequestParts(stream);
  bool over = false;
  {
    const MutexLock lock(stream->mutex);
    over = stream->parts.empty();
  }
  if (!over) {
    stream->part.reset();
    EndTurn(stream);
    return;
  }
  if (requested) {
    const Error error = DataLoss("unit {}: the stream ends after {} decoded bytes",
                                 stream->flight->unit, stream->decoder->position());
    ReportWrongStream(*stream, error);
    requested = error;
  }
  StreamEnded(stream, requested);
}

Result<SliceDecoder::Next> Filler::FillSlices(StreamFill& stream, UnitFiller& filler) {
  Blob& blob = *stream.task.blob;
  if (stream.decoder == nullptr) {
    FLOE_ASSIGN_OR_RETURN(stream.decoder, SliceDecoder::Create(blob.map(), stream.flight->unit));
  }
  std::span<const std::byte> input = RestOfPart(stream);
  const size_t part_bytes = stream.used + input.size();
  uint64_t budget = kTurnBytes;
  for (;;) {
    auto next = stream.decoder->Advance(blob.cache(), input, budget);
    stream.used = part_bytes - input.size();
    Result<void> filled = next ? Ok() : Result<void>(next.error());
    if (next && *next == SliceDecoder::Next::kSlice) {
      filled = FillSlice(stream, filler);
    }
    if (!filled && filled.error().code == ErrorCode::kDataLoss) {
      const Error error = WithContext(filled.error(), fmt::format("unit {}", stream.flight->unit));
      ReportWrongStream(stream, error);
      return error;
    }
    FLOE_RETURN_IF_ERROR(filled);
    if (*next != SliceDecoder::Next::kSlice) {
      return next;
    }
    SliceFilled(stream);
  }
}

Result<void> Filler::FillSlice(const StreamFill& stream, UnitFiller& filler) {
  Blob& blob = *stream.task.blob;
  const auto fill = [&] {
    return filler.FillSlice(blob.map(), blob.cache(), stream.decoder->group(),
                            stream.decoder->bytes());
  };
  Result<void> filled = fill();
  if (!filled && IsDiskFull(filled.error()) && make_room_()) {
    filled = fill();
  }
  return filled;
}

void Filler::SliceFilled(const StreamFill& stream) {
  Blob& blob = *stream.task.blob;
  Flight& flight = *stream.flight;
  std::vector<std::shared_ptr<Waiter>> served;
  std::vector<std::shared_ptr<Waiter>> left;
  {
    const MutexLock lock(blob.flights().mutex);
    for (const auto& waiter : flight.waiters) {
      const bool there = blob.cache().IsPresentOf(flight.unit, waiter->range());
      (there ? served : left).push_back(waiter);
    }
    flight.waiters = left;
    if (left.empty()) {
      flight.demand = false;  // The rest of the stream lets others go first.
    }
  }
  for (const auto& waiter : left) {
    watch_.Extend(*waiter);
  }
  for (const auto& waiter : served) {
    waiter->UnitDone(Ok());
  }
}

void Filler::GiveMoreTime(const StreamFill& stream) {
  std::vector<std::shared_ptr<Waiter>> waiters;
  {
    const MutexLock lock(stream.task.blob->flights().mutex);
    waiters = stream.flight->waiters;
  }
  for (const auto& waiter : waiters) {
    watch_.Extend(*waiter);
  }
}

void Filler::ReportWrongStream(const StreamFill& stream, const Error& error) {
  Report(*stream.part, /*windows=*/false, stream.part->plan.range, /*retries=*/0,
         WithFault(error, FaultKind::kWrongBytes), /*retried=*/false);
  FlightTable& table = stream.task.blob->flights();
  const MutexLock lock(table.mutex);
  table.stream_source = stream.task.source() + 1;
}

void Filler::StreamEnded(const std::shared_ptr<StreamFill>& stream, const Result<void>& outcome) {
  CancelParts(*stream);
  stream->part.reset();
  stream->decoder.reset();
  if (outcome) {
    StreamSucceeded(*stream);
  } else {
    Complete(*stream->task.blob, *stream->flight, outcome);
  }
  SlotIsFree(stream->task);
}

// A cache file that took the place of another one meanwhile (BlobCache::UseCacheFile) has nothing
// of the slices before: whoever waits for one of those waits for another stream.
void Filler::StreamSucceeded(const StreamFill& stream) {
  Blob& blob = *stream.task.blob;
  const std::shared_ptr<Flight>& flight = stream.flight;
  std::vector<std::shared_ptr<Waiter>> served;
  bool all = false;
  {
    FlightTable& table = blob.flights();
    const MutexLock lock(table.mutex);
    all = std::ranges::all_of(flight->waiters, [&](const auto& waiter) {
      return blob.cache().IsPresentOf(flight->unit, waiter->range());
    });
    if (all) {
      served.swap(flight->waiters);
      table.flights.erase(flight->unit);
    }
  }
  for (const auto& waiter : served) {
    waiter->UnitDone(Ok());
  }
  if (!all) {
    StartStream(flight, {.blob = stream.task.blob});
  }
}

}  // namespace floe::cachemgr
