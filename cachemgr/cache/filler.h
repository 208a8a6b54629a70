#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/result.h"
#include "cachemgr/cache/counters.h"
#include "cachemgr/cache/deadline_watch.h"
#include "cachemgr/cache/fault_log.h"
#include "cachemgr/cache/fetch_job.h"
#include "cachemgr/cache/fill_plan.h"
#include "cachemgr/cache/log_budget.h"
#include "cachemgr/cache/prefetch_list.h"
#include "cachemgr/cache/sources.h"
#include "cachemgr/cache/stream_fill.h"
#include "cachemgr/cache/unit_filler.h"
#include "cachemgr/cache/work_queue.h"
#include "cachemgr/channel/channel.h"

namespace floe::cachemgr {

struct FillOptions {
  /// A kernel request that is not answered by then fails with an error.
  std::chrono::milliseconds request_timeout{60000};
  MergeLimits merge = {};
  /// The most units that are fetched ahead of demands that walk through a blob (ReadAhead); 0:
  /// none.
  uint32_t readahead_units = 8;
  /// Requests under way that no kernel request waits for; beyond it read-ahead is shed, and what
  /// mounts asked for waits.
  uint32_t max_prefetch_requests = 4;
  unsigned workers = 2;
  /// The largest range request for a part of a streamed unit; the first ones are smaller.
  uint64_t stream_part_bytes = 4U << 20U;
};

/// Fills what the kernel demands, each unit once however many ask for it. Thread-safe.
///
///   Demand (reader thread)          absent units -> start or join a flight for each -> fetch
///   Fetched (fetch loop's thread)   bytes -> work queue
///   Work ("fill-N")                 decode, verify, write, mark present -> waiters
///
/// A streamed unit (image::IsStreamed) is fetched part by part, at most two ahead of the one that
/// is decoded. Its waiters are answered slice by slice, and its fill goes on to its end without
/// them: nothing of it is fetched twice. A waiter's time begins anew with each slice. A part whose
/// fetch fails is asked for at the next source; the attempts count from the last part that came.
/// Wrong bytes end the fill; the next one begins at the frame's start, with the next source.
///
/// What mounts ask for ahead of any demand waits in a list until there is a slot for a prefetch
/// request, and behind demand in the work queue.
///
/// A flight whose fetch fails goes on with the next source; what the last one has is asked for
/// until the deadline. A flight that is refused, or whose bytes do not match, is fetched once more
/// at least, from the next source if there is one. Then its waiters fail, and the next demand
/// starts anew. Whatever goes wrong with a registry is counted and logged by its kind (FaultLog).
class Filler {
 public:
  /// All must outlive this. `make_room`: called on a worker when the disk is full; true when it is
  /// worth another attempt.
  Filler(
      const FillOptions& options, RegistryClients& clients, Counters& counters, const Clock& clock,
      std::function<bool()> make_room = [] { return false; });
  ~Filler();
  Filler(const Filler&) = delete;
  Filler& operator=(const Filler&) = delete;

  /// Answers at once when nothing is absent (any more). Does not wait.
  void Demand(const std::shared_ptr<Blob>& blob, ByteRange range,
              std::unique_ptr<DemandReply> reply);
  /// Fetches units of the blob's map that no kernel request waits for, in their order; goes on when
  /// a request ends, and gives up when one fails. Does not wait.
  void Prefetch(const std::shared_ptr<Blob>& blob, std::vector<image::PrefetchRun> runs);
  /// Cancels every fetch, fails every waiter (Cancelled) and ends the workers; later demands fail
  /// at once. Blobs are quiet afterwards.
  void Stop();
  /// For tests with a fake clock.
  void ExpireDue() { watch_.ExpireDue(); }

 private:
  enum class Step : uint8_t {
    kFill,         ///< One flight of a job, from its bytes.
    kFetchFailed,  ///< All flights of a job.
    kPrefetch,     ///< There may be a slot for what mounts asked for. No job.
    kStream,       ///< A turn of a streamed unit's fill. No job.
  };
  struct Work {
    Step step = Step::kFill;
    std::shared_ptr<FetchJob> job = nullptr;
    uint32_t flight = 0;                                              ///< Index in job->flights.
    std::shared_ptr<StreamFill> stream = nullptr;                     ///< Of kStream.
    std::vector<std::unique_ptr<fetcher::FetchHandle>> handles = {};  ///< Let go of on the worker.
  };
  using Handles = std::vector<std::unique_ptr<fetcher::FetchHandle>>;
  using Flights = std::vector<std::shared_ptr<Flight>>;

  /// What became of one demand.
  struct Joined {
    Flights started;
    ReadAhead::Window ahead;
    std::optional<Result<void>> answer =
        std::nullopt;  ///< No flight is needed, or none is worth it.
  };

  Joined JoinFlights(Blob& blob, const std::shared_ptr<Waiter>& waiter);
  void FetchAhead(const std::shared_ptr<Blob>& blob, ReadAhead::Window window);
  /// A flight without waiters, unless the unit is there or has one.
  static std::shared_ptr<Flight> StartAhead(Blob& blob, uint32_t unit);
  /// True: there was a free slot for a request that nobody waits for.
  bool TakePrefetchSlot();
  void ContinuePrefetch();
  /// A request of this task has ended: whatever waits for its slot may go on.
  void SlotIsFree(const FetchTask& ended);
  /// Starts the walk's next request; the rest of it goes back to the list.
  void StartNext(PrefetchWalk walk);
  [[nodiscard]] MergeLimits LimitsOf(const FetchTask& task) const;
  /// Plans and starts the requests for flights, which are sorted by unit.
  void StartFlights(const Flights& flights, const FetchTask& task);
  /// On failure nothing is started: there is no source, or no time any more.
  Result<void> StartJob(const std::shared_ptr<FetchJob>& job);
  void StartPart(const std::shared_ptr<FetchJob>& job, bool windows);
  void PartRetried(FetchJob& job, bool windows, const Error& error);
  void PartArrived(const std::shared_ptr<FetchJob>& job, bool windows, Result<std::string> bytes);
  void Fetched(const std::shared_ptr<FetchJob>& job);

  void RunWorker();
  void FillOne(FetchJob& job, uint32_t index, UnitFiller& filler);
  /// The windows on this node are damaged: fetches them.
  void OwnWindowsFailed(const FetchJob& job, const std::shared_ptr<Flight>& flight,
                        const Error& error);
  void FetchFailed(FetchJob& job);
  /// The cache's disk, not a registry's.
  [[nodiscard]] static bool IsDiskFull(const Error& error);

  // Streamed units (filler_streams.cc).
  void StartStream(const std::shared_ptr<Flight>& flight, const FetchTask& task);
  /// Fetches as many parts ahead as may be.
  Result<void> RequestParts(const std::shared_ptr<StreamFill>& stream);
  /// `first`: before the parts that are asked for already.
  Result<void> RequestPart(const std::shared_ptr<StreamFill>& stream, ByteRange range, bool first);
  /// On the fetch loop's thread.
  void PartOfStreamArrived(const FetchJob& job);
  /// Until the part that is next arrives; queues for the next turn if it is there.
  void EndTurn(const std::shared_ptr<StreamFill>& stream);
  void QueueTurn(const std::shared_ptr<StreamFill>& stream);
  /// One turn: a part, or as much of it as a turn allows.
  void RunStream(const std::shared_ptr<StreamFill>& stream, UnitFiller& filler);
  /// Takes the part that is next. False: it has failed, and that was dealt with.
  bool TakePart(const std::shared_ptr<StreamFill>& stream);
  void StreamPartFailed(const std::shared_ptr<StreamFill>& stream, FetchJob& job);
  void PartUsedUp(const std::shared_ptr<StreamFill>& stream);
  /// Never kSlice.
  Result<SliceDecoder::Next> FillSlices(StreamFill& stream, UnitFiller& filler);
  Result<void> FillSlice(const StreamFill& stream, UnitFiller& filler);
  /// A slice is there: gives those who wait for later ones more time, and answers the others.
  void SliceFilled(const StreamFill& stream);
  /// The stream has got on.
  void GiveMoreTime(const StreamFill& stream);
  void StreamEnded(const std::shared_ptr<StreamFill>& stream, const Result<void>& outcome);
  void StreamSucceeded(const StreamFill& stream);
  /// Counts the fault; the blob's next stream begins with another source.
  void ReportWrongStream(const StreamFill& stream, const Error& error);
  /// Takes back the requests of parts that nobody needs any more.
  void CancelParts(StreamFill& stream);

  /// Another attempt is left for what ended with this error.
  [[nodiscard]] static bool MayTryAgain(const FetchTask& task, const Error& error);
  /// For flights of a job that failed.
  void TryAgain(const FetchJob& job, const Flights& flights);
  /// What went wrong with a range of the job's blob, or of its windows object.
  void Report(const FetchJob& job, bool windows, ByteRange range, uint32_t retries,
              const Error& error, bool retried);
  void Complete(Blob& blob, Flight& flight, const Result<void>& outcome);

  const FillOptions options_;
  RegistryClients& clients_;
  Counters& counters_;
  const Clock& clock_;
  const std::function<bool()> make_room_;
  DeadlineWatch watch_;
  WorkQueue<Work> queue_;
  std::atomic<uint32_t> prefetch_requests_ = 0;  // Under way, or about to be started.
  PrefetchList prefetch_;

  FaultLog faults_;
  LogBudget failures_;

  Mutex mutex_;
  CondVar idle_;
  bool stopping_ FLOE_GUARDED_BY(mutex_) = false;
  // Jobs with a fetch under way; the handles come after the fetch has been started.
  std::unordered_map<std::shared_ptr<FetchJob>, Handles> active_ FLOE_GUARDED_BY(mutex_);
  std::vector<std::jthread> workers_;
};

}  // namespace floe::cachemgr
