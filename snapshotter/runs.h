#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "prepare/mount_plan.h"
#include "snapshotter/chain.h"
#include "snapshotter/image_cache.h"
#include "snapshotter/image_mounter.h"
#include "snapshotter/keyed_mutex.h"
#include "snapshotter/root_layout.h"

namespace floe::snapshotter {

class Runs;

/// Keeps a run mounted while it lives, also when no snapshot of the store uses the run yet. The
/// Runs must outlive it.
class RunPin {
 public:
  RunPin(Runs& runs, uint64_t top_id) : runs_(&runs), top_id_(top_id) {}
  RunPin(RunPin&& other) noexcept
      : runs_(std::exchange(other.runs_, nullptr)), top_id_(other.top_id_) {}
  RunPin& operator=(RunPin&&) = delete;
  ~RunPin();

 private:
  Runs* runs_;
  uint64_t top_id_;
};

/// What a chain looks like on this node.
struct LowerDirs {
  std::vector<std::filesystem::path> paths;  ///< Top first, as lowerdir= wants them.
  std::vector<RunPin> pins;                  ///< The runs among them stay mounted as long.
};

/// The runs of lazy layers: their mount plans on disk and their mounts. Thread-safe; blocking. What
/// concerns one plan or one mount happens one after the other, different ones at the same time.
class Runs {
 public:
  /// The directories that a run stands on; asked for only when the run needs them.
  using LowersFn = std::function<Result<LowerDirs>()>;
  using InUseFn = std::function<Result<RunsInUse>()>;

  /// `mounter` null: lazy layers are never mounted (Unavailable). All must outlive the Runs.
  /// `instance`: of the metadata store; keeps two roots on one cache manager apart.
  Runs(RootLayout layout, std::string instance, ImageSource& source, ImageCache& images,
       ImageMounter* mounter)
      : layout_(std::move(layout)),
        instance_(std::move(instance)),
        source_(source),
        images_(images),
        mounter_(mounter) {}

  /// Makes sure that the run can be mounted: reads its plan, or merges its layers and writes it.
  /// The registry is asked only for what this node does not keep.
  Result<prepare::MountPlan> EnsurePlan(const Piece& run, const LowersFn& lowers);

  /// The directories of a chain, its runs mounted (again if need be). Unavailable when there are
  /// runs and no cache manager answers.
  Result<LowerDirs> MountChain(const Chain& chain);

  /// Ok when lazy layers could be mounted now.
  Result<void> Ready();

  /// Unmounts every run that is not pinned and that `in_use` (asked again for each run, under its
  /// lock) does not name; removes plans that nobody can ask for.
  Result<void> Collect(const InUseFn& in_use);

 private:
  friend class RunPin;

  Result<prepare::LayerWithIndex> FindIndex(const LazyLayer& layer);
  Result<std::vector<prepare::PlanLayer>> LoadLayers(const Piece& run);
  Result<void> WritePlan(const Piece& run, const LowersFn& lowers,
                         const std::filesystem::path& directory);
  Result<RunPin> Mount(const Piece& run, const LowersFn& lowers);
  Result<void> CollectMount(uint64_t top_id, const InUseFn& in_use);
  Result<void> CollectPlan(const std::filesystem::path& plan, const InUseFn& in_use);
  [[nodiscard]] std::string MountId(uint64_t top_id) const {
    return instance_ + "-" + std::to_string(top_id);
  }
  RunPin Pin(uint64_t top_id);
  void Unpin(uint64_t top_id);
  bool IsPinned(uint64_t top_id);

  const RootLayout layout_;
  const std::string instance_;
  ImageSource& source_;
  ImageCache& images_;
  ImageMounter* const mounter_;
  // A thread that holds a run's lock only takes locks of runs below it, and the mount's before the
  // plan's.
  KeyedMutex plan_locks_;   ///< By run key.
  KeyedMutex mount_locks_;  ///< By top id.

  Mutex mutex_;
  std::map<uint64_t, int> pins_ FLOE_GUARDED_BY(mutex_);
};

}  // namespace floe::snapshotter
