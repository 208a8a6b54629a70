#include "snapshotter/store/salvage.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

#include "snapshotter/store/metastore.h"
#include "snapshotter/store/schema.h"
#include "snapshotter/store/sqlite.h"

namespace floe::snapshotter {
namespace {

// How the rows of a table are copied. What is no number or no text in a damaged row does not become
// one here. ?1 is the id of the snapshot, and the first column.
struct TableCopy {
  const char* select;
  const char* insert;
  std::string_view types;  ///< A letter for each column: integer or text.
};

constexpr TableCopy kSnapshots = {
    "SELECT ?1, name, parent_id, kind, created_ns, updated_ns FROM snapshots NOT INDEXED"
    " WHERE id=?1 AND name<>'' AND typeof(name)='text' AND typeof(kind)='integer'"
    " AND typeof(parent_id) IN ('integer', 'null') AND typeof(created_ns)='integer'"
    " AND typeof(updated_ns)='integer'",
    "INSERT OR IGNORE INTO snapshots(id, name, parent_id, kind, created_ns, updated_ns)"
    " VALUES(?, ?, ?, ?, ?, ?)",
    "itiiii"};
constexpr TableCopy kLazyLayers = {
    "SELECT ?1, chain_id, layer_digest, manifest_digest, image_ref, position, index_scope"
    " FROM lazy_layers WHERE snapshot_id=?1 AND typeof(position)='integer'",
    "INSERT OR IGNORE INTO lazy_layers VALUES(?, ?, ?, ?, ?, ?, ?)", "ittttit"};
constexpr TableCopy kLabels = {
    "SELECT ?1, key, value FROM labels WHERE snapshot_id=?1 AND typeof(key)='text'"
    " AND typeof(value)='text'",
    "INSERT OR IGNORE INTO labels VALUES(?, ?, ?)", "itt"};

// Null: the schema itself cannot be read, or lacks the table.
Result<std::optional<Statement>> PrepareReadable(Database& database, const std::string& sql) {
  auto prepared = database.Prepare(sql);
  if (prepared) {
    return std::optional<Statement>(std::move(*prepared));
  }
  const ErrorCode code = prepared.error().code;
  if (code == ErrorCode::kDataLoss || code == ErrorCode::kInternal) {
    return std::optional<Statement>();
  }
  return prepared.error();
}

// False also where the rest cannot be read.
Result<bool> NextReadable(Statement& rows) {
  auto more = rows.Step();
  if (!more && more.error().code == ErrorCode::kDataLoss) {
    return false;
  }
  return more;
}

// Whatever rows can be read from both ends: between them is what is damaged. `columns` of `source`
// in the order of the first of them.
Result<void> VisitReadable(Database& from, const std::string& columns, const std::string& source,
                           const std::function<void(const Statement&)>& visit) {
  for (const char* order : {"ASC", "DESC"}) {
    FLOE_ASSIGN_OR_RETURN(std::optional<Statement> rows,
                          PrepareReadable(from, fmt::format("SELECT {} FROM {} ORDER BY 1 {}",
                                                            columns, source, order)));
    while (rows) {
      FLOE_ASSIGN_OR_RETURN(const bool more, NextReadable(*rows));
      if (!more) {
        break;
      }
      visit(*rows);
    }
  }
  return Ok();
}

/// Reads the damaged store.
class Wreck {
 public:
  static Result<Wreck> Open(const std::filesystem::path& path) {
    std::error_code error;
    Wreck wreck;
    if (!std::filesystem::exists(path, error) || std::filesystem::file_size(path, error) == 0) {
      return wreck;  // For SQLite it would be a new one, and what is in its log without meaning.
    }
    auto database = Database::Open(path);
    if (!database && database.error().code != ErrorCode::kDataLoss) {
      return database.error();
    }
    if (database) {
      wreck.database_ = std::move(*database);
      FLOE_RETURN_IF_ERROR(wreck.ReadWhatIsKnown());
    }
    return wreck;
  }

  [[nodiscard]] const std::set<uint64_t>& ids() const { return ids_; }
  [[nodiscard]] uint64_t last_id() const { return last_id_; }
  [[nodiscard]] const std::string& instance() const { return instance_; }

  // Only what is read whole; labels one by one.
  Result<void> CopySnapshot(uint64_t id, Database& to) {
    if (database_ == nullptr) {
      return Ok();
    }
    FLOE_ASSIGN_OR_RETURN(const bool found, CopyRows(kSnapshots, id, to));
    if (found) {
      FLOE_RETURN_IF_ERROR(CopyRows(kLazyLayers, id, to));
      FLOE_RETURN_IF_ERROR(CopyRows(kLabels, id, to));
    }
    return Ok();
  }

 private:
  Result<void> ReadWhatIsKnown() {
    const auto add = [this](const Statement& row) { AddId(row.Int(0)); };
    FLOE_RETURN_IF_ERROR(VisitReadable(*database_, "id", "snapshots NOT INDEXED", add));
    FLOE_RETURN_IF_ERROR(VisitReadable(*database_, "snapshot_id", "lazy_layers", add));
    FLOE_RETURN_IF_ERROR(VisitReadable(
        *database_, "name, id", "snapshots INDEXED BY sqlite_autoindex_snapshots_1",
        [this](const Statement& row) { names_[AddId(row.Int(1))].insert(row.Text(0)); }));
    FLOE_RETURN_IF_ERROR(VisitReadable(
        *database_, "parent_id, id", "snapshots INDEXED BY snapshots_by_parent",
        [this](const Statement& row) { parents_[AddId(row.Int(1))].insert(row.Int(0)); }));
    FLOE_RETURN_IF_ERROR(VisitReadable(
        *database_, "seq", "sqlite_sequence WHERE name='snapshots'",
        [this](const Statement& row) { last_id_ = std::max(last_id_, Bounded(row.Int(0))); }));
    return VisitReadable(*database_, "id", "instance", [this](const Statement& row) {
      instance_ = IsInstanceId(row.Text(0)) ? row.Text(0) : "";
    });
  }

  static uint64_t Bounded(int64_t id) {
    return id > 0 && static_cast<uint64_t>(id) <= kMaxSnapshotId ? static_cast<uint64_t>(id) : 0;
  }
  uint64_t AddId(int64_t id) {
    if (const uint64_t bounded = Bounded(id); bounded != 0) {
      ids_.insert(bounded);
      last_id_ = std::max(last_id_, bounded);
    }
    return Bounded(id);
  }

  // An index says something else. One that says nothing has lost it.
  [[nodiscard]] bool Contradicted(uint64_t id, const Statement& row) const {
    const auto name = names_.find(id);
    const auto parent = parents_.find(id);
    return (name != names_.end() && name->second != std::set<std::string>{row.Text(1)}) ||
           (parent != parents_.end() && parent->second != std::set<int64_t>{row.Int(2)});
  }

  // False: none could be read.
  Result<bool> CopyRows(const TableCopy& table, uint64_t id, Database& to) {
    FLOE_ASSIGN_OR_RETURN(std::optional<Statement> rows, PrepareReadable(*database_, table.select));
    if (!rows) {
      return false;
    }
    rows->Bind(static_cast<int64_t>(id));
    FLOE_ASSIGN_OR_RETURN(Statement insert, to.Prepare(table.insert));
    for (bool any = false;; any = true) {
      FLOE_ASSIGN_OR_RETURN(const bool more, NextReadable(*rows));
      if (!more) {
        return any;
      }
      if (&table == &kSnapshots && Contradicted(id, *rows)) {
        return false;
      }
      insert.Reset();
      BindColumns(*rows, table.types, insert);
      FLOE_RETURN_IF_ERROR(insert.Run());
    }
  }

  static void BindColumns(const Statement& row, std::string_view types, Statement& into) {
    for (size_t i = 0; i < types.size(); ++i) {
      const auto column = static_cast<int>(i);
      if (row.IsNull(column)) {
        into.BindNull();
      } else if (types[i] == 'i') {
        into.Bind(row.Int(column));
      } else {
        into.Bind(row.Text(column));
      }
    }
  }

  std::unique_ptr<Database> database_;  ///< Null: it is none.
  std::set<uint64_t> ids_;
  uint64_t last_id_ = 0;
  std::string instance_;
  // As the indexes have them; 0: no parent.
  std::map<uint64_t, std::set<std::string>> names_;
  std::map<uint64_t, std::set<int64_t>> parents_;
};

Result<std::set<uint64_t>> NotWhole(Database& database,
                                    const std::function<bool(const Candidate&)>& is_whole) {
  FLOE_ASSIGN_OR_RETURN(
      Statement rows,
      database.Prepare("SELECT s.id, s.name, p.name, l.snapshot_id, l.chain_id, l.layer_digest,"
                       " l.manifest_digest FROM snapshots s"
                       " LEFT JOIN snapshots p ON p.id=s.parent_id"
                       " LEFT JOIN lazy_layers l ON l.snapshot_id=s.id"));
  std::set<uint64_t> not_whole;
  while (true) {
    FLOE_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) {
      return not_whole;
    }
    Candidate candidate{.id = static_cast<uint64_t>(rows.Int(0)),
                        .name = rows.Text(1),
                        .parent = rows.Text(2),
                        .lazy_chain_id = {}};
    bool readable = true;
    if (!rows.IsNull(3)) {
      const auto chain_id = Digest::Parse(rows.Text(4));
      readable = chain_id && Digest::Parse(rows.Text(5)) && Digest::Parse(rows.Text(6));
      candidate.lazy_chain_id = chain_id ? std::optional<Digest>(*chain_id) : std::nullopt;
    }
    if (!readable || !is_whole(candidate)) {
      not_whole.insert(candidate.id);
    }
  }
}

// What stands on a snapshot that is lost is lost with it; so is what seems to be its own ancestor.
Result<void> Drop(Database& database, const std::set<uint64_t>& not_whole) {
  FLOE_ASSIGN_OR_RETURN(Statement drop, database.Prepare("DELETE FROM snapshots WHERE id=?"));
  for (const uint64_t id : not_whole) {
    drop.Reset();
    FLOE_RETURN_IF_ERROR(drop.Bind(static_cast<int64_t>(id)).Run());
  }
  return database.Execute(
      "DELETE FROM snapshots WHERE id NOT IN (WITH RECURSIVE sound(id) AS ("
      "SELECT id FROM snapshots WHERE parent_id IS NULL UNION"
      " SELECT s.id FROM snapshots s JOIN sound p ON s.parent_id=p.id"
      " JOIN snapshots q ON q.id=p.id AND q.kind=3) SELECT id FROM sound);"
      "DELETE FROM labels WHERE snapshot_id NOT IN (SELECT id FROM snapshots);"
      "DELETE FROM lazy_layers WHERE snapshot_id NOT IN (SELECT id FROM snapshots)");
}

Result<void> SetInstance(Database& database, const std::string& instance) {
  if (!IsInstanceId(instance)) {
    return Ok();
  }
  FLOE_ASSIGN_OR_RETURN(Statement update, database.Prepare("UPDATE instance SET id=?"));
  return update.Bind(instance).Run();
}

Result<void> SetLastId(Database& database, uint64_t last_id) {
  FLOE_RETURN_IF_ERROR(database.Execute("DELETE FROM sqlite_sequence WHERE name='snapshots'"));
  FLOE_ASSIGN_OR_RETURN(
      Statement insert,
      database.Prepare("INSERT INTO sqlite_sequence(name, seq) VALUES('snapshots', ?)"));
  return insert.Bind(static_cast<int64_t>(last_id)).Run();
}

Result<uint64_t> Count(Database& database) {
  FLOE_ASSIGN_OR_RETURN(Statement row, database.Prepare("SELECT count(*) FROM snapshots"));
  FLOE_RETURN_IF_ERROR(row.Step());
  return static_cast<uint64_t>(row.Int(0));
}

Result<Salvaged> CopyAll(Wreck& wreck, Database& to, const SalvageOptions& options) {
  std::set<uint64_t> ids = wreck.ids();
  ids.insert(options.ids.begin(), options.ids.end());
  FLOE_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(to));
  FLOE_RETURN_IF_ERROR(to.Execute("PRAGMA defer_foreign_keys=ON"));  // Parents in any order.
  for (const uint64_t id : ids) {
    FLOE_RETURN_IF_ERROR(wreck.CopySnapshot(id, to));
  }
  FLOE_ASSIGN_OR_RETURN(const std::set<uint64_t> not_whole, NotWhole(to, options.is_whole));
  FLOE_RETURN_IF_ERROR(Drop(to, not_whole));
  FLOE_RETURN_IF_ERROR(
      SetInstance(to, options.instance.empty() ? wreck.instance() : options.instance));
  FLOE_RETURN_IF_ERROR(SetLastId(to, std::max(wreck.last_id(), options.last_id)));
  Salvaged salvaged;
  FLOE_ASSIGN_OR_RETURN(salvaged.kept, Count(to));
  salvaged.lost = ids.size() - salvaged.kept;
  FLOE_RETURN_IF_ERROR(transaction.Commit());
  return salvaged;
}

// All of it is in the one file, and said to be: closing a database in WAL mode says nothing.
Result<void> EndLog(Database& database) {
  FLOE_ASSIGN_OR_RETURN(Statement mode, database.Prepare("PRAGMA journal_mode=DELETE"));
  FLOE_RETURN_IF_ERROR(mode.Step());
  return mode.Text(0) == "delete" ? Ok() : Result<void>(Internal("the new store keeps its log"));
}

}  // namespace

Result<Salvaged> SalvageStore(const std::filesystem::path& damaged,
                              const std::filesystem::path& fresh, const SalvageOptions& options) {
  FLOE_ASSIGN_OR_RETURN(Wreck wreck, Wreck::Open(damaged));
  FLOE_ASSIGN_OR_RETURN(const std::unique_ptr<Database> to, Database::Open(fresh));
  FLOE_RETURN_IF_ERROR(PrepareSchema(*to, Missing::kCreate));
  FLOE_ASSIGN_OR_RETURN(const Salvaged salvaged, CopyAll(wreck, *to, options));
  FLOE_RETURN_IF_ERROR(EndLog(*to));
  return salvaged;
}

}  // namespace floe::snapshotter
