#include "cachemgr/cache/filler.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/log.h"
#include "base/thread_name.h"
#include "cachemgr/cache/blob.h"

namespace floe::cachemgr {
namespace {

// A request's bytes come all at once: a reader that catches up should not wait for much more than
// it wants.
constexpr uint64_t kMaxPrefetchBytes = 1U << 20U;
// What mounts ask for is wanted soon, but nobody waits yet.
constexpr uint64_t kMaxMountPrefetchBytes = 4U << 20U;

bool IsStreamed(const image::BlobMap& map, uint32_t unit) {
  const image::UnitView view = map.unit(unit);
  return image::IsStreamed(view.codec, view.decoded_length);
}

// The bytes of `part`, which lies inside `whole`, out of the bytes of `whole`.
std::span<const std::byte> Slice(const std::string& bytes, ByteRange whole, ByteRange part) {
  if (part.empty()) {
    return {};
  }
  return std::as_bytes(std::span(bytes)).subspan(part.offset - whole.offset, part.length);
}

// A digest of compressed bytes says nothing about the window that they are decoded with: only the
// whole of the windows does, which a range of them from a registry is not checked against.
bool NeedsVerifiedWindows(const image::BlobMap& map, const FetchPlan& plan) {
  return std::ranges::any_of(plan.units, [&](uint32_t number) {
    const image::UnitView unit = map.unit(number);
    if (unit.window.empty()) {
      return false;
    }
    for (uint32_t g = unit.first_group; g < unit.first_group + unit.group_count; ++g) {
      if (map.group(g).digest_kind == image::DigestKind::kCompressedSha256 ||
          map.group(g).digest_kind == image::DigestKind::kNone) {
        return true;
      }
    }
    return false;
  });
}

}  // namespace

Filler::Filler(const FillOptions& options, RegistryClients& clients, Counters& counters,
               const Clock& clock, std::function<bool()> make_room)
    : options_(options),
      clients_(clients),
      counters_(counters),
      clock_(clock),
      make_room_(std::move(make_room)),
      watch_(clock, options.request_timeout),
      faults_(counters, clock),
      failures_(clock) {
  for (unsigned i = 0; i < std::max(1U, options_.workers); ++i) {
    workers_.emplace_back([this, i] {
      SetThreadName(fmt::format("fill-{}", i));
      RunWorker();
    });
  }
}

Filler::~Filler() { Stop(); }

void Filler::Stop() {
  prefetch_.Close();
  Handles cancelled;  // Letting go of a handle cancels its fetch; not under the lock.
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    for (auto& [job, handles] : active_) {
      std::ranges::move(handles, std::back_inserter(cancelled));
      handles.clear();
    }
  }
  cancelled.clear();
  {
    const MutexLock lock(mutex_);
    while (!active_.empty()) {
      idle_.Wait(mutex_);
    }
  }
  queue_.Close();
  workers_.clear();
}

// --- a demand: on the channel reader's thread ---

void Filler::Demand(const std::shared_ptr<Blob>& blob, ByteRange range,
                    std::unique_ptr<DemandReply> reply) {
  auto waiter = std::make_shared<Waiter>(range, std::move(reply), blob->cache(), counters_, watch_);
  watch_.Add(waiter);
  const Joined joined = JoinFlights(*blob, waiter);
  if (joined.answer) {
    waiter->Finish(*joined.answer);
    return;
  }
  StartFlights(joined.started, {.blob = blob});
  if (joined.ahead.count > 0) {
    FetchAhead(blob, joined.ahead);
  }
}

Filler::Joined Filler::JoinFlights(Blob& blob, const std::shared_ptr<Waiter>& waiter) {
  Joined joined;
  Flights promoted;
  {
    FlightTable& table = blob.flights();
    const MutexLock lock(table.mutex);
    // A flight marks its groups before it leaves the table, so what is absent here and now has
    // either a flight to join or none.
    const std::vector<uint32_t> units = blob.cache().AbsentUnits(waiter->range());
    if (units.empty()) {
      waiter->Begin(0, counters_.reads_hit);
      joined.answer = Ok();
      return joined;
    }
    if (table.timeouts.ContainsAny(units, clock_.Now())) {
      waiter->Begin(0, counters_.reads_filled);
      joined.answer = DeadlineExceeded("offset {} length {} timed out a moment ago",
                                       waiter->range().offset, waiter->range().length);
      return joined;
    }
    for (const uint32_t unit : units) {
      std::shared_ptr<Flight>& flight = table.flights[unit];
      if (flight == nullptr) {
        flight = std::make_shared<Flight>(unit, /*is_demand=*/true);
        joined.started.push_back(flight);
      } else if (!flight->demand.exchange(true)) {
        promoted.push_back(flight);
      }
      flight->waiters.push_back(waiter);
    }
    if (!joined.started.empty() || !promoted.empty()) {  // The first to ask for these units.
      joined.ahead =
          table.read_ahead.OnDemand(units.front(), units.back(), options_.readahead_units);
    }
    waiter->Begin(static_cast<uint32_t>(units.size()),
                  joined.started.empty() ? counters_.reads_joined : counters_.reads_filled);
  }
  for (const std::shared_ptr<Flight>& flight : promoted) {
    queue_.Promote([&](const Work& work) {
      return (work.step == Step::kFill && work.job->flights[work.flight] == flight) ||
             (work.step == Step::kStream && work.stream->flight == flight);
    });
  }
  return joined;
}

void Filler::FetchAhead(const std::shared_ptr<Blob>& blob, ReadAhead::Window window) {
  if (prefetch_requests_ >= options_.max_prefetch_requests) {
    return;
  }
  const uint64_t end =
      std::min<uint64_t>(uint64_t{window.first} + window.count, blob->map().unit_count());
  Flights started;
  for (uint32_t unit = window.first; unit < end && !IsStreamed(blob->map(), unit); ++unit) {
    if (auto flight = StartAhead(*blob, unit); flight != nullptr) {
      started.push_back(std::move(flight));
    }
  }
  StartFlights(started, {.blob = blob, .prefetch = true, .max_request_bytes = kMaxPrefetchBytes});
}

std::shared_ptr<Flight> Filler::StartAhead(Blob& blob, uint32_t unit) {
  FlightTable& table = blob.flights();
  const MutexLock lock(table.mutex);
  if (blob.cache().IsUnitPresent(unit) || table.flights.contains(unit)) {
    return nullptr;
  }
  auto flight = std::make_shared<Flight>(unit, /*is_demand=*/false);
  table.flights[unit] = flight;
  return flight;
}

// --- what mounts asked for ---

void Filler::Prefetch(const std::shared_ptr<Blob>& blob, std::vector<image::PrefetchRun> runs) {
  if (runs.empty() || blob->cache().AllPresent()) {
    return;
  }
  prefetch_.Push(PrefetchWalk(blob, std::move(runs)));
  queue_.Push({.step = Step::kPrefetch}, Priority::kPrefetch);
}

void Filler::SlotIsFree(const FetchTask& ended) {
  if (!ended.prefetch) {
    return;
  }
  --prefetch_requests_;
  if (!prefetch_.empty()) {
    queue_.Push({.step = Step::kPrefetch}, Priority::kPrefetch);
  }
}

bool Filler::TakePrefetchSlot() {
  uint32_t taken = prefetch_requests_;
  while (taken < options_.max_prefetch_requests) {
    if (prefetch_requests_.compare_exchange_weak(taken, taken + 1)) {
      return true;
    }
  }
  return false;
}

// Whoever finds no slot leaves the rest to the end of a request that has one.
void Filler::ContinuePrefetch() {
  while (!prefetch_.empty() && TakePrefetchSlot()) {
    if (auto walk = prefetch_.Pop()) {
      StartNext(std::move(*walk));
    }
    --prefetch_requests_;  // The request that was started, if any, has counted itself.
  }
}

void Filler::StartNext(PrefetchWalk walk) {
  const std::shared_ptr<Blob> blob = walk.blob();
  if (blob == nullptr) {
    return;  // Evicted.
  }
  const FetchTask task{.blob = blob, .prefetch = true, .max_request_bytes = kMaxMountPrefetchBytes};
  const MergeLimits limits = LimitsOf(task);
  Flights started;
  FetchPlan plan;  // Only to see where the request is long enough.
  for (; const auto unit = walk.unit(); walk.Advance()) {
    if (blob->cache().IsUnitPresent(*unit)) {  // Without the lock that readers need.
      continue;
    }
    if (!AddUnit(plan, blob->map(), *unit, limits)) {
      break;
    }
    if (auto flight = StartAhead(*blob, *unit); flight != nullptr) {
      started.push_back(std::move(flight));
    }
  }
  if (walk.unit()) {
    prefetch_.Push(std::move(walk));  // Before the request, whose failure drops it.
  }
  StartFlights(started, task);
}

// --- fetching ---

MergeLimits Filler::LimitsOf(const FetchTask& task) const {
  MergeLimits limits = options_.merge;
  limits.max_request_bytes = std::min(limits.max_request_bytes, task.max_request_bytes);
  return limits;
}

void Filler::StartFlights(const Flights& flights, const FetchTask& task) {
  Flights whole;
  Flights streamed;
  std::vector<uint32_t> units;
  for (const std::shared_ptr<Flight>& flight : flights) {
    if (IsStreamed(task.blob->map(), flight->unit)) {
      streamed.push_back(flight);
    } else {
      whole.push_back(flight);
      units.push_back(flight->unit);
    }
  }
  auto next = whole.begin();
  for (FetchPlan& plan : PlanFetches(task.blob->map(), units, LimitsOf(task))) {
    auto job = std::make_shared<FetchJob>();
    job->task = task;
    const auto end = next + static_cast<ptrdiff_t>(plan.units.size());
    job->flights.assign(next, end);
    job->plan = std::move(plan);
    next = end;
    if (auto started = StartJob(job); !started) {
      for (const auto& flight : job->flights) {
        Complete(*task.blob, *flight, started);
      }
    }
  }
  for (const std::shared_ptr<Flight>& flight : streamed) {
    StartStream(flight, task);
  }
}

Result<void> Filler::StartJob(const std::shared_ptr<FetchJob>& job) {
  const auto sources = job->task.blob->sources();
  if (sources->empty()) {
    return FailedPrecondition("no source for blob {}",
                              job->task.blob->map().blob_digest().ToString());
  }
  job->own_windows = job->task.blob->windows();
  if (job->own_windows == nullptr && NeedsVerifiedWindows(job->task.blob->map(), job->plan)) {
    return FailedPrecondition(
        "blob {}: the windows that this node made are gone, and nothing vouches for others",
        job->task.blob->map().blob_digest().ToString());
  }
  {
    const MutexLock lock(mutex_);
    if (stopping_) {
      return Cancelled("the cache manager is stopping");
    }
    active_.emplace(job, Handles());
  }
  if (job->task.prefetch) {
    ++prefetch_requests_;
  }
  const bool windows = !job->plan.windows.empty() && job->own_windows == nullptr;
  {
    const MutexLock lock(job->mutex);
    job->parts_missing = windows ? 2 : 1;
  }
  job->source = (*sources)[job->task.source() % sources->size()];
  job->last_source = job->task.attempt + 1 >= sources->size();
  StartPart(job, /*windows=*/false);
  if (windows) {
    StartPart(job, /*windows=*/true);
  }
  return Ok();
}

void Filler::StartPart(const std::shared_ptr<FetchJob>& job, bool windows) {
  auto client = clients_.For(job->source);
  if (!client) {
    PartArrived(job, windows, client.error());
    return;
  }
  const image::BlobMap& map = job->task.blob->map();
  fetcher::RangeRequest request{
      .repository = job->source.repository,
      .digest = windows ? map.windows_digest() : map.blob_digest(),
      .range = windows ? job->plan.windows : job->plan.range,
      .blob_bytes = windows ? map.windows_size_bytes() : map.blob_size_bytes(),
      .deadline = Deadline::After(options_.request_timeout, clock_),
      .until_deadline = job->last_source,
      .on_retry = [this, job, windows](const Error& error) { PartRetried(*job, windows, error); }};
  auto handle =
      (*client)->FetchRange(std::move(request), [this, job, windows](Result<std::string> bytes) {
        PartArrived(job, windows, std::move(bytes));
      });
  // Destroyed after the lock is released: the fetch is over, or is to be cancelled.
  std::unique_ptr<fetcher::FetchHandle> dropped;
  const MutexLock lock(mutex_);
  if (auto found = active_.find(job); found != active_.end() && !stopping_) {
    found->second.push_back(std::move(handle));
  } else {
    dropped = std::move(handle);
  }
}

// --- on the fetch loop's thread: nothing here waits ---

void Filler::PartRetried(FetchJob& job, bool windows, const Error& error) {
  uint32_t before = 0;
  {
    const MutexLock lock(job.mutex);
    before = (windows ? job.windows : job.data).retries++;
  }
  Report(job, windows, windows ? job.plan.windows : job.plan.range, before, error,
         /*retried=*/true);
}

void Filler::PartArrived(const std::shared_ptr<FetchJob>& job, bool windows,
                         Result<std::string> bytes) {
  const uint64_t wanted = windows ? job->plan.windows.length : job->plan.range.length;
  if (bytes) {
    counters_.fetched_bytes += bytes->size();
    job->task.blob->CountFetched(bytes->size());
    if (bytes->size() != wanted) {
      bytes = WithFault(DataLoss("{} bytes came instead of {}", bytes->size(), wanted),
                        FaultKind::kWrongSize);
    }
  }
  bool last = false;
  {
    const MutexLock lock(job->mutex);
    FetchAnswer& answer = windows ? job->windows : job->data;
    if (bytes) {
      answer.bytes = std::move(*bytes);
    } else {
      answer.error = std::move(bytes).error();
    }
    last = --job->parts_missing == 0;
  }
  if (last) {
    Fetched(job);
  }
}

void Filler::Fetched(const std::shared_ptr<FetchJob>& job) {
  bool failed = false;
  {
    const MutexLock lock(job->mutex);
    failed = job->data.error || job->windows.error;
  }
  Handles handles;
  {
    const MutexLock lock(mutex_);
    handles.swap(active_.at(job));
  }
  if (job->stream != nullptr) {
    PartOfStreamArrived(*job);
  } else if (failed) {
    queue_.Push({.step = Step::kFetchFailed, .job = job, .handles = std::move(handles)},
                Priority::kDemand);
  } else {
    for (uint32_t i = 0; i < job->flights.size(); ++i) {
      queue_.Push({.job = job, .flight = i, .handles = std::exchange(handles, Handles())},
                  job->flights[i]->demand ? Priority::kDemand : Priority::kPrefetch);
    }
  }
  if (!failed) {
    SlotIsFree(job->task);
  }
  const MutexLock lock(mutex_);
  active_.erase(job);  // After the push: Stop closes the queue when nothing is active.
  if (active_.empty()) {
    idle_.NotifyAll();
  }
}

// --- on a worker's thread ---

void Filler::RunWorker() {
  UnitFiller filler;
  while (auto work = queue_.Pop()) {
    switch (work->step) {
      case Step::kFill:
        FillOne(*work->job, work->flight, filler);
        break;
      case Step::kFetchFailed:
        FetchFailed(*work->job);
        break;
      case Step::kPrefetch:
        ContinuePrefetch();
        break;
      case Step::kStream:
        RunStream(work->stream, filler);
        break;
    }
  }
}

// ENOSPC, EDQUOT: not what a registry says.
bool Filler::IsDiskFull(const Error& error) {
  return error.code == ErrorCode::kResourceExhausted && error.os_errno != 0;
}

void Filler::FillOne(FetchJob& job, uint32_t index, UnitFiller& filler) {
  Blob& blob = *job.task.blob;
  const std::shared_ptr<Flight>& flight = job.flights[index];
  const image::UnitView unit = blob.map().unit(flight->unit);
  std::span<const std::byte> data;
  std::span<const std::byte> window;
  {
    const MutexLock lock(job.mutex);  // The bytes do not change any more.
    data = Slice(job.data.bytes, job.plan.range, unit.range);
    if (job.own_windows == nullptr) {
      window = Slice(job.windows.bytes, job.plan.windows, unit.window);
    }
  }
  std::string own_window;
  if (job.own_windows != nullptr) {
    auto read = job.own_windows->Read(unit.window);
    if (!read) {
      OwnWindowsFailed(job, flight, read.error());
      return;
    }
    own_window = std::move(*read);
    window = std::as_bytes(std::span(own_window));
  }
  Result<void> filled = filler.Fill(blob.map(), blob.cache(), flight->unit, data, window);
  if (!filled && IsDiskFull(filled.error()) && make_room_()) {
    filled = filler.Fill(blob.map(), blob.cache(), flight->unit, data, window);
  }
  if (!filled && filled.error().code == ErrorCode::kDataLoss) {
    filled = WithFault(std::move(filled).error(), FaultKind::kWrongBytes);
    const bool again = MayTryAgain(job.task, filled.error());
    Report(job, /*windows=*/false, unit.range, /*retries=*/0, filled.error(), again);
    if (job.own_windows != nullptr) {
      job.own_windows->Distrust();  // Either may be what is wrong.
    }
    if (again) {
      TryAgain(job, {flight});
      return;
    }
  }
  Complete(blob, *flight, filled);
}

void Filler::OwnWindowsFailed(const FetchJob& job, const std::shared_ptr<Flight>& flight,
                              const Error& error) {
  job.task.blob->DropWindows(job.own_windows, error);
  StartFlights({flight}, job.task);
}

void Filler::FetchFailed(FetchJob& job) {
  FetchAnswer data;
  FetchAnswer windows;
  {
    const MutexLock lock(job.mutex);
    std::swap(data, job.data);
    std::swap(windows, job.windows);
  }
  const Error error =
      data.error ? *data.error : windows.error.value_or(Internal("a fetch without a reason"));
  const bool again = MayTryAgain(job.task, error);
  if (data.error) {
    Report(job, /*windows=*/false, job.plan.range, data.retries, *data.error, again);
  }
  if (windows.error) {
    Report(job, /*windows=*/true, job.plan.windows, windows.retries, *windows.error, again);
  }
  if (again) {
    TryAgain(job, job.flights);
  } else {
    for (const auto& flight : job.flights) {
      Complete(*job.task.blob, *flight, error);
    }
  }
  SlotIsFree(job.task);  // Not before: what follows of a blob that failed is dropped now.
}

bool Filler::MayTryAgain(const FetchTask& task, const Error& error) {
  const size_t sources = task.blob->sources()->size();
  const size_t tried = task.attempt + 1;
  switch (error.code) {
    case ErrorCode::kCancelled:
      return false;  // We are stopping.
    case ErrorCode::kUnavailable:
    case ErrorCode::kDeadlineExceeded:
    case ErrorCode::kResourceExhausted:
    case ErrorCode::kUnauthenticated:
      // The last source has been asked until the deadline, or with fresh credentials.
      return tried < sources;
    default:
      // Refused, or answered wrongly. Registries have replicas and proxies that disagree for a
      // moment: one answer of that kind is not the truth yet.
      return tried < std::max<size_t>(sources, 2);
  }
}

void Filler::TryAgain(const FetchJob& job, const Flights& flights) {
  FetchTask next = job.task;
  ++next.attempt;
  StartFlights(flights, next);
}

void Filler::Report(const FetchJob& job, bool windows, ByteRange range, uint32_t retries,
                    const Error& error, bool retried) {
  const image::BlobMap& map = job.task.blob->map();
  faults_.Report({.error = error,
                  .registry = job.source.repository.registry,
                  .digest = windows ? map.windows_digest() : map.blob_digest(),
                  .range = range,
                  .attempt = job.task.attempt + retries + 1,
                  .retried = retried});
}

void Filler::Complete(Blob& blob, Flight& flight, const Result<void>& outcome) {
  std::vector<std::shared_ptr<Waiter>> waiters;
  {
    FlightTable& table = blob.flights();
    const MutexLock lock(table.mutex);
    waiters.swap(flight.waiters);
    table.flights.erase(flight.unit);
    if (!outcome && outcome.error().code == ErrorCode::kDeadlineExceeded) {
      table.timeouts.Add(flight.unit, clock_.Now());
    }
  }
  if (!outcome && outcome.error().code != ErrorCode::kCancelled && !waiters.empty() &&
      failures_.Take()) {
    LogWarning("fill failed blob={} unit={} waiters={} reason=\"{}\"",
               blob.map().blob_digest().ToString(), flight.unit, waiters.size(),
               outcome.error().ToString());
  }
  if (!outcome && !flight.demand && prefetch_.Drop(blob)) {
    LogInfo("prefetch given up blob={} reason=\"{}\"", blob.map().blob_digest().ToString(),
            outcome.error().ToString());
  }
  for (const auto& waiter : waiters) {
    waiter->UnitDone(outcome);
  }
}

}  // namespace floe::cachemgr
