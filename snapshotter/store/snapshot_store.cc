#include "snapshotter/store/snapshot_store.h"

#include <utility>

namespace floe::snapshotter {
namespace {

constexpr int kSchemaVersion = 1;

constexpr const char* kSchema = R"sql(
CREATE TABLE snapshots (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL UNIQUE,
  parent TEXT NOT NULL,
  kind INTEGER NOT NULL,
  created_ns INTEGER NOT NULL,
  updated_ns INTEGER NOT NULL,
  size_bytes INTEGER,
  inodes INTEGER
);
CREATE INDEX snapshots_parent ON snapshots(parent);
CREATE TABLE labels (
  id INTEGER NOT NULL REFERENCES snapshots(id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (id, name)
) WITHOUT ROWID;
CREATE TABLE lazy_layers (
  id INTEGER PRIMARY KEY REFERENCES snapshots(id) ON DELETE CASCADE,
  registry TEXT NOT NULL,
  repository TEXT NOT NULL,
  manifest TEXT NOT NULL,
  layer TEXT NOT NULL,
  chain_id TEXT NOT NULL,
  index_scope TEXT NOT NULL,
  has_implied INTEGER NOT NULL
);
)sql";

Result<Snapshot> ReadRow(const Statement& row) {
  Snapshot snapshot;
  snapshot.id = row.Int(0);
  snapshot.key = row.Text(1);
  snapshot.parent = row.Text(2);
  snapshot.kind = static_cast<Kind>(row.Int(3));
  snapshot.created_ns = row.Int(4);
  snapshot.updated_ns = row.Int(5);
  if (!row.IsNull(6)) {
    LazyLayer lazy;
    lazy.registry = row.Text(6);
    lazy.repository = row.Text(7);
    FLOE_ASSIGN_OR_RETURN(lazy.manifest, Digest::Parse(row.Text(8)));
    FLOE_ASSIGN_OR_RETURN(lazy.layer, Digest::Parse(row.Text(9)));
    FLOE_ASSIGN_OR_RETURN(lazy.chain_id, Digest::Parse(row.Text(10)));
    lazy.index_scope = row.Text(11);
    lazy.has_implied = row.Int(12) != 0;
    snapshot.lazy = std::move(lazy);
  }
  return snapshot;
}

}  // namespace

Result<std::unique_ptr<SnapshotStore>> SnapshotStore::Open(const std::filesystem::path& database,
                                                           const Clock& clock) {
  FLOE_ASSIGN_OR_RETURN(std::unique_ptr<Database> opened, Database::Open(database));
  std::unique_ptr<SnapshotStore> store(new SnapshotStore(std::move(opened), clock));
  MutexLock lock(store->mutex_);
  FLOE_RETURN_IF_ERROR(store->CreateSchema());
  return store;
}

Result<void> SnapshotStore::CreateSchema() {
  FLOE_ASSIGN_OR_RETURN(Statement version, database_->Prepare("PRAGMA user_version"));
  FLOE_RETURN_IF_ERROR(version.Step());
  int64_t found = version.Int(0);
  if (found == kSchemaVersion) {
    return Ok();
  }
  if (found != 0) {
    return FailedPrecondition("the metadata database has version {}, this program writes {}", found,
                              kSchemaVersion);
  }
  FLOE_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  FLOE_RETURN_IF_ERROR(database_->Execute(kSchema));
  FLOE_RETURN_IF_ERROR(database_->Execute(fmt::format("PRAGMA user_version = {}", kSchemaVersion)));
  return transaction.Commit();
}

int64_t SnapshotStore::NowNs() const {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(clock_.WallNow().time_since_epoch())
      .count();
}

Result<std::vector<Snapshot>> SnapshotStore::Select(const std::string& where,
                                                    const std::string& argument) {
  FLOE_ASSIGN_OR_RETURN(
      Statement rows,
      database_->Prepare("SELECT s.id, key, parent, kind, created_ns, updated_ns, registry, "
                         "repository, manifest, layer, chain_id, index_scope, has_implied "
                         "FROM snapshots s LEFT JOIN lazy_layers l ON l.id = s.id " +
                         where + " ORDER BY s.id"));
  if (!argument.empty()) {
    rows.Bind(1, argument);
  }
  std::vector<Snapshot> snapshots;
  std::map<int64_t, size_t> position;
  for (;;) {
    FLOE_ASSIGN_OR_RETURN(bool more, rows.Step());
    if (!more) {
      break;
    }
    FLOE_ASSIGN_OR_RETURN(Snapshot snapshot, ReadRow(rows));
    position[snapshot.id] = snapshots.size();
    snapshots.push_back(std::move(snapshot));
  }
  FLOE_ASSIGN_OR_RETURN(Statement labels,
                        database_->Prepare("SELECT b.id, b.name, b.value FROM labels b "
                                           "JOIN snapshots s ON s.id = b.id " +
                                           where));
  if (!argument.empty()) {
    labels.Bind(1, argument);
  }
  for (;;) {
    FLOE_ASSIGN_OR_RETURN(bool more, labels.Step());
    if (!more) {
      return snapshots;
    }
    snapshots[position.at(labels.Int(0))].labels[labels.Text(1)] = labels.Text(2);
  }
}

Result<Snapshot> SnapshotStore::Find(const std::string& key) {
  if (key.empty()) {
    return InvalidArgument("the snapshot's key is empty");
  }
  FLOE_ASSIGN_OR_RETURN(std::vector<Snapshot> found, Select("WHERE s.key = ?1", key));
  if (found.empty()) {
    return NotFound("snapshot {} does not exist", key);
  }
  return std::move(found.front());
}

Result<void> SnapshotStore::WriteLabels(int64_t id, const Labels& labels) {
  FLOE_ASSIGN_OR_RETURN(Statement clear, database_->Prepare("DELETE FROM labels WHERE id = ?1"));
  FLOE_RETURN_IF_ERROR(clear.Bind(1, id).Run());
  for (const auto& [name, value] : labels) {
    FLOE_ASSIGN_OR_RETURN(Statement insert,
                          database_->Prepare("INSERT INTO labels VALUES (?1, ?2, ?3)"));
    FLOE_RETURN_IF_ERROR(insert.Bind(1, id).Bind(2, name).Bind(3, value).Run());
  }
  return Ok();
}

Result<void> SnapshotStore::CheckParent(const std::string& parent) {
  if (parent.empty()) {
    return Ok();
  }
  auto found = Find(parent);
  if (!found) {
    return WithContext(found.error(), "parent");
  }
  if (found->kind != Kind::kCommitted) {
    return InvalidArgument("parent {} is not committed", parent);
  }
  return Ok();
}

Result<Snapshot> SnapshotStore::Create(
    Snapshot wanted, const std::function<Result<void>(const Snapshot&)>& before_commit) {
  if (wanted.key.empty()) {
    return InvalidArgument("the snapshot's key is empty");
  }
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  FLOE_RETURN_IF_ERROR(CheckParent(wanted.parent));
  wanted.created_ns = wanted.updated_ns = NowNs();
  FLOE_ASSIGN_OR_RETURN(Statement insert,
                        database_->Prepare("INSERT INTO snapshots (key, parent, kind, created_ns, "
                                           "updated_ns) VALUES (?1, ?2, ?3, ?4, ?5)"));
  auto inserted = insert.Bind(1, wanted.key)
                      .Bind(2, wanted.parent)
                      .Bind(3, static_cast<int64_t>(wanted.kind))
                      .Bind(4, wanted.created_ns)
                      .Bind(5, wanted.updated_ns)
                      .Run();
  if (!inserted) {
    return inserted.error().code == ErrorCode::kAlreadyExists
               ? AlreadyExists("snapshot {} already exists", wanted.key)
               : inserted.error();
  }
  wanted.id = database_->LastInsertId();
  FLOE_RETURN_IF_ERROR(WriteLabels(wanted.id, wanted.labels));
  if (wanted.lazy) {
    FLOE_ASSIGN_OR_RETURN(
        Statement lazy,
        database_->Prepare("INSERT INTO lazy_layers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"));
    FLOE_RETURN_IF_ERROR(lazy.Bind(1, wanted.id)
                             .Bind(2, wanted.lazy->registry)
                             .Bind(3, wanted.lazy->repository)
                             .Bind(4, wanted.lazy->manifest.ToString())
                             .Bind(5, wanted.lazy->layer.ToString())
                             .Bind(6, wanted.lazy->chain_id.ToString())
                             .Bind(7, wanted.lazy->index_scope)
                             .Bind(8, int64_t{wanted.lazy->has_implied})
                             .Run());
  }
  if (before_commit) {
    FLOE_RETURN_IF_ERROR(before_commit(wanted));
  }
  FLOE_RETURN_IF_ERROR(transaction.Commit());
  return wanted;
}

Result<Snapshot> SnapshotStore::Commit(const std::string& name, const std::string& key,
                                       const Labels& labels, const std::string& parent) {
  if (name.empty()) {
    return InvalidArgument("the committed snapshot's name is empty");
  }
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  FLOE_ASSIGN_OR_RETURN(Snapshot snapshot, Find(key));
  if (name != key && Find(name)) {
    return AlreadyExists("snapshot {} already exists", name);
  }
  if (snapshot.kind != Kind::kActive) {
    return FailedPrecondition("snapshot {} is not active", key);
  }
  if (!parent.empty() && parent != snapshot.parent) {
    return InvalidArgument("snapshot {} has parent '{}', not '{}'", key, snapshot.parent, parent);
  }
  snapshot.key = name;
  snapshot.kind = Kind::kCommitted;
  snapshot.labels = labels;
  snapshot.created_ns = snapshot.updated_ns = NowNs();
  FLOE_ASSIGN_OR_RETURN(
      Statement update,
      database_->Prepare("UPDATE snapshots SET key = ?2, kind = ?3, created_ns = ?4, "
                         "updated_ns = ?4 WHERE id = ?1"));
  FLOE_RETURN_IF_ERROR(update.Bind(1, snapshot.id)
                           .Bind(2, name)
                           .Bind(3, static_cast<int64_t>(Kind::kCommitted))
                           .Bind(4, snapshot.created_ns)
                           .Run());
  FLOE_RETURN_IF_ERROR(WriteLabels(snapshot.id, labels));
  FLOE_RETURN_IF_ERROR(transaction.Commit());
  return snapshot;
}

Result<Snapshot> SnapshotStore::Remove(const std::string& key) {
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  FLOE_ASSIGN_OR_RETURN(Snapshot snapshot, Find(key));
  FLOE_ASSIGN_OR_RETURN(Statement children,
                        database_->Prepare("SELECT key FROM snapshots WHERE parent = ?1 LIMIT 1"));
  children.Bind(1, key);
  FLOE_ASSIGN_OR_RETURN(bool has_children, children.Step());
  if (has_children) {
    return FailedPrecondition("cannot remove snapshot {}: it has children, {} among them", key,
                              children.Text(0));
  }
  FLOE_ASSIGN_OR_RETURN(Statement remove,
                        database_->Prepare("DELETE FROM snapshots WHERE id = ?1"));
  FLOE_RETURN_IF_ERROR(remove.Bind(1, snapshot.id).Run());
  FLOE_RETURN_IF_ERROR(transaction.Commit());
  return snapshot;
}

Result<Snapshot> SnapshotStore::Get(const std::string& key) {
  MutexLock lock(mutex_);
  return Find(key);
}

Result<std::vector<Snapshot>> SnapshotStore::Chain(const std::string& key) {
  MutexLock lock(mutex_);
  std::vector<Snapshot> chain;
  std::string next = key;
  while (!next.empty()) {
    FLOE_ASSIGN_OR_RETURN(Snapshot snapshot, Find(next));
    next = snapshot.parent;
    chain.push_back(std::move(snapshot));
  }
  return chain;
}

Result<std::vector<Snapshot>> SnapshotStore::All() {
  MutexLock lock(mutex_);
  return Select("", "");
}

Result<Snapshot> SnapshotStore::UpdateLabels(const std::string& key, const Labels& labels,
                                             const std::vector<std::string>& only) {
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  FLOE_ASSIGN_OR_RETURN(Snapshot snapshot, Find(key));
  if (only.empty()) {
    snapshot.labels = labels;
  }
  for (const std::string& name : only) {
    auto value = labels.find(name);
    if (value == labels.end() || value->second.empty()) {
      snapshot.labels.erase(name);
    } else {
      snapshot.labels[name] = value->second;
    }
  }
  snapshot.updated_ns = NowNs();
  FLOE_ASSIGN_OR_RETURN(Statement update,
                        database_->Prepare("UPDATE snapshots SET updated_ns = ?2 WHERE id = ?1"));
  FLOE_RETURN_IF_ERROR(update.Bind(1, snapshot.id).Bind(2, snapshot.updated_ns).Run());
  FLOE_RETURN_IF_ERROR(WriteLabels(snapshot.id, snapshot.labels));
  FLOE_RETURN_IF_ERROR(transaction.Commit());
  return snapshot;
}

Result<std::optional<Usage>> SnapshotStore::GetUsage(int64_t id) {
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(
      Statement row, database_->Prepare("SELECT size_bytes, inodes FROM snapshots WHERE id = ?1"));
  row.Bind(1, id);
  FLOE_ASSIGN_OR_RETURN(bool found, row.Step());
  if (!found || row.IsNull(0)) {
    return std::optional<Usage>();
  }
  return std::optional<Usage>(
      Usage{static_cast<uint64_t>(row.Int(0)), static_cast<uint64_t>(row.Int(1))});
}

Result<void> SnapshotStore::SetUsage(int64_t id, Usage usage) {
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(
      Statement update,
      database_->Prepare("UPDATE snapshots SET size_bytes = ?2, inodes = ?3 WHERE id = ?1"));
  return update.Bind(1, id)
      .Bind(2, static_cast<int64_t>(usage.size_bytes))
      .Bind(3, static_cast<int64_t>(usage.inodes))
      .Run();
}

}  // namespace floe::snapshotter
