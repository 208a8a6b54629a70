#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/result.h"
#include "snapshotter/image_cache.h"
#include "snapshotter/image_mounter.h"
#include "snapshotter/image_source.h"
#include "snapshotter/overlay.h"
#include "snapshotter/remote.h"
#include "snapshotter/root_layout.h"
#include "snapshotter/runs.h"
#include "snapshotter/store/metastore.h"
#include "snapshotter/types.h"

namespace floe::snapshotter {

/// What the snapshotter is made of; all references must outlive it.
struct SnapshotterOptions {
  RootLayout layout;
  ImageSource& images;
  ImageMounter* mounter = nullptr;  ///< Null: no layer is ever lazy.
  const Clock& clock;
  Clock::Duration resolve_timeout;
  OverlaySupport overlay;
};

/// containerd's snapshot service over one root directory: overlay snapshots as containerd's own
/// overlayfs snapshotter makes them, and layers that are mounted instead of unpacked. Thread-safe.
/// Calls that touch lazy layers block on the registry (Prepare of a layer; up to resolve_timeout)
/// or on the cache manager; all others take milliseconds. Error codes: docs/snapshotter.md.
class Snapshotter {
 public:
  /// Makes the root's directories and opens the store. What an earlier run left half-made is found
  /// by the first Cleanup. DataLoss when the store is damaged or gone: repair.h.
  static Result<std::unique_ptr<Snapshotter>> Create(SnapshotterOptions options);

  /// AlreadyExists also means, for labels with kLabelSnapshotRef: the layer is available, do not
  /// unpack it.
  Result<std::vector<Mount>> Prepare(const std::string& key, const std::string& parent,
                                     const Labels& labels);
  Result<std::vector<Mount>> View(const std::string& key, const std::string& parent,
                                  const Labels& labels);
  /// Brings lazy layers back after a reboot, without the registry.
  Result<std::vector<Mount>> Mounts(const std::string& key);
  Result<void> Commit(const std::string& name, const std::string& key, const Labels& labels,
                      const std::string& parent);
  Result<void> Remove(const std::string& key);
  Result<Info> Stat(const std::string& key);
  Result<Info> Update(const std::string& name, const Labels& labels,
                      const std::vector<std::string>& paths);
  /// The matching snapshots as they are at one moment; holds nothing afterwards.
  Result<std::vector<Info>> List(const std::vector<std::string>& filters);
  /// An unpacked snapshot: its directory. A lazy one: its mount plan, when it has one; the bytes
  /// that were fetched are the cache manager's.
  Result<Usage> GetUsage(const std::string& key);
  /// Deletes the directories of removed snapshots, unmounts and forgets runs that nobody uses.
  Result<void> Cleanup();

 private:
  Snapshotter(SnapshotterOptions options, std::unique_ptr<MetaStore> store);

  Result<std::vector<Mount>> Create(Kind kind, const std::string& key, const std::string& parent,
                                    const Labels& labels);
  Result<bool> TryLazy(const std::string& parent, const Labels& labels);
  Result<void> CommitLazy(const std::string& name, const std::string& parent, const Labels& labels,
                          const RemoteTarget& target);
  Result<Usage> MeasureCommitted(const Snapshot& snapshot);
  /// Directories without a row.
  Result<void> RemoveOrphans() FLOE_REQUIRES(cleanup_mutex_);

  const SnapshotterOptions options_;
  const RootLayout& layout_;
  const std::unique_ptr<MetaStore> store_;
  ImageCache image_cache_;
  Runs runs_;
  RemoteLayers remote_;
  Mutex cleanup_mutex_;  ///< One cleanup at a time. Taken before all other locks.
};

}  // namespace floe::snapshotter
