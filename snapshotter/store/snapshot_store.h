#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/result.h"
#include "snapshotter/snapshot.h"
#include "snapshotter/store/database.h"

namespace floe::snapshotter {

/// The snapshots' metadata, in <root>/metadata.db (docs/formats.md). Thread-safe; one transaction a
/// call. The error codes are those of containerd's contract (docs/snapshotter.md).
class SnapshotStore {
 public:
  static Result<std::unique_ptr<SnapshotStore>> Open(const std::filesystem::path& database,
                                                     const Clock& clock);

  /// Makes an active, view or (lazy) committed snapshot. `before_commit` runs inside the
  /// transaction with the new row; its error undoes everything. AlreadyExists: the key. NotFound:
  /// the parent. InvalidArgument: the parent is not committed.
  Result<Snapshot> Create(Snapshot wanted,
                          const std::function<Result<void>(const Snapshot&)>& before_commit);
  /// Turns the active snapshot `key` into the committed `name`. A non-empty `parent` must be its
  /// parent.
  Result<Snapshot> Commit(const std::string& name, const std::string& key, const Labels& labels,
                          const std::string& parent);
  /// Removes the row; its directory is the caller's. FailedPrecondition: it has children.
  Result<Snapshot> Remove(const std::string& key);

  Result<Snapshot> Get(const std::string& key);
  /// The snapshot and its ancestors, nearest first.
  Result<std::vector<Snapshot>> Chain(const std::string& key);
  Result<std::vector<Snapshot>> All();

  /// Replaces all labels (`only` empty) or sets and deletes (empty value) those named in `only`.
  Result<Snapshot> UpdateLabels(const std::string& key, const Labels& labels,
                                const std::vector<std::string>& only);

  /// Usage of a committed snapshot, once it was measured.
  Result<std::optional<Usage>> GetUsage(int64_t id);
  Result<void> SetUsage(int64_t id, Usage usage);

 private:
  SnapshotStore(std::unique_ptr<Database> database, const Clock& clock)
      : clock_(clock), database_(std::move(database)) {}

  Result<void> CreateSchema() FLOE_REQUIRES(mutex_);
  Result<Snapshot> Find(const std::string& key) FLOE_REQUIRES(mutex_);
  Result<std::vector<Snapshot>> Select(const std::string& where, const std::string& argument)
      FLOE_REQUIRES(mutex_);
  Result<void> WriteLabels(int64_t id, const Labels& labels) FLOE_REQUIRES(mutex_);
  Result<void> CheckParent(const std::string& parent) FLOE_REQUIRES(mutex_);
  [[nodiscard]] int64_t NowNs() const;

  const Clock& clock_;
  Mutex mutex_;
  std::unique_ptr<Database> database_ FLOE_GUARDED_BY(mutex_);
};

}  // namespace floe::snapshotter
