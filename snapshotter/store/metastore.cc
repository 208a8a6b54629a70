#include "snapshotter/store/metastore.h"

#include <string_view>
#include <utility>

#include "snapshotter/labels.h"
#include "snapshotter/store/rows.h"
#include "snapshotter/store/schema.h"
#include "snapshotter/store/sqlite.h"

namespace floe::snapshotter {
namespace {

Result<std::string> ReadInstance(Database& database) {
  FLOE_ASSIGN_OR_RETURN(Statement row, database.Prepare("SELECT id FROM instance"));
  FLOE_ASSIGN_OR_RETURN(bool found, row.Step());
  if (!found) {
    return DataLoss("metadata store is damaged: it has no instance id");
  }
  return row.Text(0);
}

Result<Snapshot> MustFind(Database& database, const std::string& name) {
  FLOE_ASSIGN_OR_RETURN(std::optional<Snapshot> found, FindByName(database, name));
  if (!found) {
    return NotFound("snapshot {} does not exist", name);
  }
  return std::move(*found);
}

// The id of a parent for a new snapshot; 0 for none.
Result<uint64_t> ParentId(Database& database, const std::string& parent, ErrorCode not_committed) {
  if (parent.empty()) {
    return uint64_t{0};
  }
  FLOE_ASSIGN_OR_RETURN(std::optional<Snapshot> found, FindByName(database, parent));
  if (!found) {
    return NotFound("parent {} does not exist", parent);
  }
  if (found->info.kind != Kind::kCommitted) {
    return Error{not_committed, fmt::format("parent {} is not committed", parent)};
  }
  return found->id;
}

Result<uint64_t> InsertChild(Database& database, Kind kind, const std::string& name,
                             const std::string& parent, const Labels& labels,
                             std::chrono::system_clock::time_point now) {
  FLOE_ASSIGN_OR_RETURN(uint64_t parent_id,
                        ParentId(database, parent, ErrorCode::kInvalidArgument));
  FLOE_ASSIGN_OR_RETURN(uint64_t id, InsertSnapshot(database, kind, name, parent_id, now));
  FLOE_RETURN_IF_ERROR(ReplaceLabels(database, id, WithoutEmptyValues(labels)));
  return id;
}

Result<void> ApplyMask(Labels& current, const Labels& wanted,
                       const std::vector<std::string>& paths) {
  constexpr std::string_view kOneLabel = "labels.";
  if (paths.empty()) {
    current = wanted;
  }
  for (const std::string& path : paths) {
    if (path == "labels") {
      current = wanted;
    } else if (path.starts_with(kOneLabel) && path.size() > kOneLabel.size()) {
      const std::string key = path.substr(kOneLabel.size());
      const auto found = wanted.find(key);
      current[key] = found == wanted.end() ? std::string() : found->second;
    } else {
      return InvalidArgument("cannot update field {} of a snapshot", path);
    }
  }
  current = WithoutEmptyValues(std::move(current));
  return Ok();
}

}  // namespace

MetaStore::MetaStore(std::unique_ptr<Database> database, std::string instance, const Clock& clock)
    : instance_(std::move(instance)), clock_(clock), database_(std::move(database)) {}

MetaStore::~MetaStore() = default;

Result<std::unique_ptr<MetaStore>> MetaStore::Open(const std::filesystem::path& path,
                                                   const Clock& clock, Missing missing) {
  auto database = Database::Open(path);
  auto prepared = database ? PrepareSchema(**database, missing) : Result<void>(database.error());
  if (!prepared) {
    return WithContext(prepared.error(), path.native());
  }
  FLOE_ASSIGN_OR_RETURN(std::string instance, ReadInstance(**database));
  return std::unique_ptr<MetaStore>(
      new MetaStore(std::move(*database), std::move(instance), clock));
}

Result<Snapshot> MetaStore::Get(const std::string& name) {
  MutexLock lock(mutex_);
  return MustFind(*database_, name);
}

Result<bool> MetaStore::Exists(const std::string& name) {
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(std::optional<Snapshot> found, FindByName(*database_, name));
  return found.has_value();
}

Result<Chain> MetaStore::GetChain(const std::string& name) {
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(uint64_t id, ParentId(*database_, name, ErrorCode::kInvalidArgument));
  return ReadChain(*database_, id);
}

Result<std::vector<Info>> MetaStore::List() {
  MutexLock lock(mutex_);
  return ReadAllInfos(*database_);
}

Result<std::vector<Node>> MetaStore::Nodes() {
  MutexLock lock(mutex_);
  return ReadAllNodes(*database_);
}

Result<uint64_t> MetaStore::Create(Kind kind, const std::string& name, const std::string& parent,
                                   const Labels& labels, const BeforeCommit& before_commit) {
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  FLOE_ASSIGN_OR_RETURN(uint64_t id,
                        InsertChild(*database_, kind, name, parent, labels, clock_.WallNow()));
  FLOE_RETURN_IF_ERROR(before_commit(id));
  FLOE_RETURN_IF_ERROR(transaction.Commit());
  return id;
}

Result<uint64_t> MetaStore::CreateLazy(const std::string& name, const std::string& parent,
                                       const Labels& labels, const LazyLayer& layer) {
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  FLOE_ASSIGN_OR_RETURN(uint64_t id, InsertChild(*database_, Kind::kCommitted, name, parent, labels,
                                                 clock_.WallNow()));
  FLOE_RETURN_IF_ERROR(InsertLazyLayer(*database_, id, layer));
  FLOE_RETURN_IF_ERROR(transaction.Commit());
  return id;
}

Result<void> MetaStore::Commit(const std::string& key, const std::string& name,
                               const Labels& labels, const std::string& parent) {
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  FLOE_ASSIGN_OR_RETURN(std::optional<Snapshot> taken, FindByName(*database_, name));
  if (taken) {
    return AlreadyExists("snapshot {} already exists", name);
  }
  FLOE_ASSIGN_OR_RETURN(Snapshot active, MustFind(*database_, key));
  if (active.info.kind != Kind::kActive) {
    return FailedPrecondition("snapshot {} is not active", key);
  }
  if (!parent.empty() && !active.info.parent.empty() && parent != active.info.parent) {
    return InvalidArgument("snapshot {} has the parent {}, not {}", key, active.info.parent,
                           parent);
  }
  FLOE_ASSIGN_OR_RETURN(uint64_t parent_id,
                        ParentId(*database_, parent.empty() ? active.info.parent : parent,
                                 ErrorCode::kFailedPrecondition));
  FLOE_ASSIGN_OR_RETURN(
      Statement update,
      database_->Prepare("UPDATE snapshots SET name=?, parent_id=nullif(?, 0), kind=?,"
                         " created_ns=?, updated_ns=? WHERE id=?"));
  const int64_t now = ToNanoseconds(clock_.WallNow());
  update.Bind(name)
      .Bind(static_cast<int64_t>(parent_id))
      .Bind(static_cast<int64_t>(Kind::kCommitted))
      .Bind(now)
      .Bind(now)
      .Bind(static_cast<int64_t>(active.id));
  FLOE_RETURN_IF_ERROR(update.Run());
  FLOE_RETURN_IF_ERROR(ReplaceLabels(*database_, active.id, WithoutEmptyValues(labels)));
  return transaction.Commit();
}

Result<void> MetaStore::Remove(const std::string& name) {
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  FLOE_ASSIGN_OR_RETURN(Snapshot snapshot, MustFind(*database_, name));
  const auto id = static_cast<int64_t>(snapshot.id);
  FLOE_ASSIGN_OR_RETURN(Statement children,
                        database_->Prepare("SELECT name FROM snapshots WHERE parent_id=?"));
  children.Bind(id);
  FLOE_ASSIGN_OR_RETURN(bool has_child, children.Step());
  if (has_child) {
    return FailedPrecondition("cannot remove snapshot {}: it is the parent of {}", name,
                              children.Text(0));
  }
  FLOE_ASSIGN_OR_RETURN(Statement erase, database_->Prepare("DELETE FROM snapshots WHERE id=?"));
  FLOE_RETURN_IF_ERROR(erase.Bind(id).Run());
  return transaction.Commit();
}

Result<Info> MetaStore::Update(const std::string& name, const Labels& labels,
                               const std::vector<std::string>& paths) {
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  FLOE_ASSIGN_OR_RETURN(Snapshot snapshot, MustFind(*database_, name));
  Info& info = snapshot.info;
  FLOE_RETURN_IF_ERROR(ApplyMask(info.labels, labels, paths));
  info.updated = clock_.WallNow();
  FLOE_RETURN_IF_ERROR(ReplaceLabels(*database_, snapshot.id, info.labels));
  FLOE_ASSIGN_OR_RETURN(Statement touch,
                        database_->Prepare("UPDATE snapshots SET updated_ns=? WHERE id=?"));
  touch.Bind(ToNanoseconds(info.updated)).Bind(static_cast<int64_t>(snapshot.id));
  FLOE_RETURN_IF_ERROR(touch.Run());
  FLOE_RETURN_IF_ERROR(transaction.Commit());
  return std::move(info);
}

Result<void> MetaStore::SetUsage(uint64_t id, Usage usage) {
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(
      Statement update,
      database_->Prepare("UPDATE snapshots SET size_bytes=?, inodes=? WHERE id=?"));
  update.Bind(static_cast<int64_t>(usage.size_bytes))
      .Bind(static_cast<int64_t>(usage.inodes))
      .Bind(static_cast<int64_t>(id));
  return update.Run();
}

Result<uint64_t> MetaStore::LastId() {
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(
      Statement row, database_->Prepare("SELECT seq FROM sqlite_sequence WHERE name='snapshots'"));
  FLOE_ASSIGN_OR_RETURN(const bool found, row.Step());
  return found ? static_cast<uint64_t>(row.Int(0)) : uint64_t{0};
}

Result<void> MetaStore::WithIds(
    const std::function<Result<void>(const std::set<uint64_t>&)>& visit) {
  MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(Statement rows, database_->Prepare("SELECT id FROM snapshots"));
  std::set<uint64_t> ids;
  while (true) {
    FLOE_ASSIGN_OR_RETURN(bool more, rows.Step());
    if (!more) {
      return visit(ids);
    }
    ids.insert(static_cast<uint64_t>(rows.Int(0)));
  }
}

}  // namespace floe::snapshotter
