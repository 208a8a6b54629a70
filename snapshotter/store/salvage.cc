#include "snapshotter/store/salvage.h"

#include <string>
#include <string_view>

#include "base/digest.h"

namespace floe::snapshotter {
namespace {

// How the rows of a table are copied. What is no number or no text in a damaged row does not become
// one here.
struct TableCopy {
  const char* select;  ///< Parameter: the id of a snapshot.
  const char* insert;
  std::string_view types;  ///< A letter for each column: integer or text.
};

constexpr TableCopy kSnapshots = {
    "SELECT id, name, parent_id, kind, created_ns, updated_ns FROM snapshots NOT INDEXED"
    " WHERE id=? AND name<>'' AND typeof(name)='text' AND typeof(kind)='integer'"
    " AND typeof(parent_id) IN ('integer', 'null')",
    "INSERT OR IGNORE INTO snapshots(id, name, parent_id, kind, created_ns, updated_ns)"
    " VALUES(?, ?, ?, ?, ?, ?)",
    "itiiii"};
constexpr TableCopy kLazyLayers = {"SELECT * FROM lazy_layers WHERE snapshot_id=?",
                                   "INSERT OR IGNORE INTO lazy_layers VALUES(?, ?, ?, ?, ?, ?, ?)",
                                   "ittttit"};
constexpr TableCopy kLabels = {"SELECT * FROM labels WHERE snapshot_id=?",
                               "INSERT OR IGNORE INTO labels VALUES(?, ?, ?)", "itt"};

void BindColumns(const Statement& row, std::string_view types, Statement& into) {
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

// How many rows of the snapshot were copied; what cannot be read is none.
Result<uint64_t> CopyRows(Database& from, Database& to, const TableCopy& table, uint64_t id) {
  auto row = from.Prepare(table.select);
  if (!row) {
    return uint64_t{0};
  }
  row->Bind(static_cast<int64_t>(id));
  FLOE_ASSIGN_OR_RETURN(Statement insert, to.Prepare(table.insert));
  uint64_t count = 0;
  for (auto more = row->Step(); more && *more; more = row->Step()) {
    insert.Reset();
    BindColumns(*row, table.types, insert);
    FLOE_RETURN_IF_ERROR(insert.Run());
    ++count;
  }
  return count;
}

Result<void> CopySnapshot(Database& from, Database& to, uint64_t id) {
  FLOE_ASSIGN_OR_RETURN(const uint64_t found, CopyRows(from, to, kSnapshots, id));
  if (found == 0) {
    return Ok();
  }
  FLOE_RETURN_IF_ERROR(CopyRows(from, to, kLazyLayers, id));
  FLOE_RETURN_IF_ERROR(CopyRows(from, to, kLabels, id));
  return Ok();
}

// Whatever can be read of a column of ids, from both ends: between them is what is damaged.
void AddReadableIds(Database& from, const char* table, const char* column,
                    std::set<uint64_t>& ids) {
  for (const char* order : {"ASC", "DESC"}) {
    auto rows = from.Prepare(
        fmt::format("SELECT {0} FROM {1} NOT INDEXED ORDER BY {0} {2}", column, table, order));
    if (!rows) {
      continue;
    }
    for (auto more = rows->Step(); more && *more; more = rows->Step()) {
      if (const int64_t id = rows->Int(0); id > 0) {
        ids.insert(static_cast<uint64_t>(id));
      }
    }
  }
}

// Snapshots that have neither a directory nor a lazy layer that can be read.
Result<std::set<uint64_t>> Hollow(Database& database,
                                  const std::function<bool(uint64_t)>& has_directory) {
  FLOE_ASSIGN_OR_RETURN(
      Statement rows,
      database.Prepare("SELECT s.id, l.snapshot_id, l.chain_id, l.layer_digest, l.manifest_digest"
                       " FROM snapshots s LEFT JOIN lazy_layers l"
                       " ON l.snapshot_id=s.id"));
  std::set<uint64_t> hollow;
  while (true) {
    FLOE_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) {
      return hollow;
    }
    const auto id = static_cast<uint64_t>(rows.Int(0));
    const bool sound = rows.IsNull(1)
                           ? has_directory(id)
                           : Digest::Parse(rows.Text(2)) && Digest::Parse(rows.Text(3)) &&
                                 Digest::Parse(rows.Text(4));
    if (!sound) {
      hollow.insert(id);
    }
  }
}

Result<uint64_t> Count(Database& database) {
  FLOE_ASSIGN_OR_RETURN(Statement row, database.Prepare("SELECT count(*) FROM snapshots"));
  FLOE_RETURN_IF_ERROR(row.Step());
  return static_cast<uint64_t>(row.Int(0));
}

// What stands on a snapshot that is lost is lost with it; so is what seems to be its own ancestor.
Result<void> DropWhatIsIncomplete(Database& database, const std::set<uint64_t>& hollow) {
  FLOE_ASSIGN_OR_RETURN(Statement drop, database.Prepare("DELETE FROM snapshots WHERE id=?"));
  for (const uint64_t id : hollow) {
    drop.Reset();
    FLOE_RETURN_IF_ERROR(drop.Bind(static_cast<int64_t>(id)).Run());
  }
  return database.Execute(
      "DELETE FROM snapshots WHERE id NOT IN (WITH RECURSIVE sound(id) AS ("
      "SELECT id FROM snapshots WHERE parent_id IS NULL UNION"
      " SELECT s.id FROM snapshots s JOIN sound p ON s.parent_id=p.id"
      " JOIN snapshots q ON q.id=p.id AND q.kind=3) SELECT id FROM sound)");
}

Result<void> CopyInstance(Database& from, Database& to) {
  constexpr size_t kDigits = 8;
  auto row = from.Prepare("SELECT id FROM instance");
  if (auto found = row ? row->Step() : Result<bool>(false); !found || !*found) {
    return Ok();
  }
  const std::string id = row->Text(0);
  if (id.size() != kDigits || id.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return Ok();
  }
  FLOE_ASSIGN_OR_RETURN(Statement update, to.Prepare("UPDATE instance SET id=?"));
  return update.Bind(id).Run();
}

}  // namespace

Result<Salvaged> SalvageSnapshots(Database& from, Database& to, std::set<uint64_t> ids,
                                  const std::function<bool(uint64_t)>& has_directory) {
  AddReadableIds(from, "snapshots", "id", ids);
  AddReadableIds(from, "lazy_layers", "snapshot_id", ids);
  FLOE_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(to));
  // Parents come in any order.
  FLOE_RETURN_IF_ERROR(to.Execute("PRAGMA defer_foreign_keys=ON"));
  for (const uint64_t id : ids) {
    FLOE_RETURN_IF_ERROR(CopySnapshot(from, to, id));
  }
  FLOE_RETURN_IF_ERROR(CopyInstance(from, to));
  FLOE_ASSIGN_OR_RETURN(const std::set<uint64_t> hollow, Hollow(to, has_directory));
  FLOE_RETURN_IF_ERROR(DropWhatIsIncomplete(to, hollow));
  Salvaged salvaged;
  FLOE_ASSIGN_OR_RETURN(salvaged.kept, Count(to));
  salvaged.lost = ids.size() - salvaged.kept;
  FLOE_RETURN_IF_ERROR(transaction.Commit());
  return salvaged;
}

}  // namespace floe::snapshotter
