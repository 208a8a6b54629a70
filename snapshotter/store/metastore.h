#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/mutex.h"
#include "base/result.h"
#include "snapshotter/store/schema.h"
#include "snapshotter/types.h"

namespace floe::snapshotter {

class Database;

/// What stands behind a committed snapshot that was never unpacked: a layer of an image.
struct LazyLayer {
  Digest chain_id;
  Digest layer_digest;
  Digest manifest_digest;
  std::string image_ref;
  uint32_t position = 0;    ///< In the manifest's layers, from the bottom.
  std::string index_scope;  ///< Under which prepare keeps the layer's index on this node.

  bool operator==(const LazyLayer&) const = default;
};

/// A snapshot as it is stored.
struct Snapshot {
  uint64_t id = 0;  ///< Never 0, never used twice; names the snapshot's directory.
  Info info;
  std::optional<Usage> usage;  ///< Not yet measured: none.
  std::optional<LazyLayer> lazy;
};

/// A committed snapshot in the line of parents.
struct ChainLink {
  uint64_t id = 0;
  std::optional<LazyLayer> lazy;
};
/// A parent, its parent, and so on: top first. Empty: no parent.
using Chain = std::vector<ChainLink>;

/// The shape of the whole store, for deciding what is still used.
struct Node {
  uint64_t id = 0;
  uint64_t parent_id = 0;  ///< 0: none.
  Kind kind = Kind::kActive;
  std::optional<LazyLayer> lazy;
};

/// The metadata of all snapshots in one SQLite file. Thread-safe. Each call is one transaction: it
/// happens as a whole, durably, or not at all. The codes are those that containerd's clients expect
/// of the call of the same name (docs/snapshotter.md).
class MetaStore {
 public:
  /// Runs inside the transaction with the new snapshot's id; its error undoes the snapshot.
  using BeforeCommit = std::function<Result<void>(uint64_t id)>;

  /// Opens the file, or makes it where `missing` says so. DataLoss when it is damaged or missing,
  /// FailedPrecondition when it is newer than this program. `clock` must outlive the store.
  static Result<std::unique_ptr<MetaStore>> Open(const std::filesystem::path& path,
                                                 const Clock& clock,
                                                 Missing missing = Missing::kCreate);
  ~MetaStore();

  /// 8 hex digits that tell this store from any other on the node.
  [[nodiscard]] const std::string& instance() const { return instance_; }

  /// NotFound.
  Result<Snapshot> Get(const std::string& name);
  Result<bool> Exists(const std::string& name);
  /// `name` and its parents. NotFound; InvalidArgument when it is not committed. An empty name has
  /// an empty chain.
  Result<Chain> GetChain(const std::string& name);
  /// All snapshots, in the order of their creation.
  Result<std::vector<Info>> List();
  Result<std::vector<Node>> Nodes();

  /// An active snapshot or a view. NotFound or InvalidArgument (parent), AlreadyExists (name).
  Result<uint64_t> Create(Kind kind, const std::string& name, const std::string& parent,
                          const Labels& labels, const BeforeCommit& before_commit);
  /// A committed snapshot of a lazy layer. Errors as Create.
  Result<uint64_t> CreateLazy(const std::string& name, const std::string& parent,
                              const Labels& labels, const LazyLayer& layer);
  /// The active snapshot `key` becomes the committed `name`, with these labels only. `parent`, when
  /// not empty, becomes the parent of a snapshot that has none. AlreadyExists (name), NotFound
  /// (key, parent), FailedPrecondition (key is not active, parent is not committed),
  /// InvalidArgument (it has another parent).
  Result<void> Commit(const std::string& key, const std::string& name, const Labels& labels,
                      const std::string& parent);
  /// NotFound; FailedPrecondition while it is a parent.
  Result<void> Remove(const std::string& name);
  /// Changes labels: `paths` holds "labels" or "labels.<key>"; empty means "labels". NotFound;
  /// InvalidArgument for any other path.
  Result<Info> Update(const std::string& name, const Labels& labels,
                      const std::vector<std::string>& paths);
  Result<void> SetUsage(uint64_t id, Usage usage);

  /// The highest id that a snapshot ever had; 0: there was none.
  Result<uint64_t> LastId();
  /// Runs `visit` with the ids of all snapshots while no snapshot can come or go.
  Result<void> WithIds(const std::function<Result<void>(const std::set<uint64_t>&)>& visit);

 private:
  MetaStore(std::unique_ptr<Database> database, std::string instance, const Clock& clock);

  const std::string instance_;
  const Clock& clock_;
  Mutex mutex_;
  const std::unique_ptr<Database> database_;  ///< Used under mutex_ only.
};

}  // namespace floe::snapshotter
