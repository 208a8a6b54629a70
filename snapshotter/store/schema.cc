#include "snapshotter/store/schema.h"

#include <algorithm>
#include <string>

namespace floe::snapshotter {
namespace {

// AUTOINCREMENT: the id of a removed snapshot never comes back, so a directory whose id has no row
// is garbage for ever.
constexpr const char* kTables = R"sql(
CREATE TABLE snapshots(
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT NOT NULL UNIQUE,
  parent_id  INTEGER REFERENCES snapshots(id),
  kind       INTEGER NOT NULL CHECK(kind IN (1, 2, 3)),
  created_ns INTEGER NOT NULL,
  updated_ns INTEGER NOT NULL,
  size_bytes INTEGER,
  inodes     INTEGER);
CREATE INDEX snapshots_by_parent ON snapshots(parent_id);
CREATE TABLE labels(
  snapshot_id INTEGER NOT NULL REFERENCES snapshots(id) ON DELETE CASCADE,
  key         TEXT NOT NULL,
  value       TEXT NOT NULL,
  PRIMARY KEY(snapshot_id, key)) WITHOUT ROWID;
CREATE TABLE lazy_layers(
  snapshot_id     INTEGER PRIMARY KEY REFERENCES snapshots(id) ON DELETE CASCADE,
  chain_id        TEXT NOT NULL,
  layer_digest    TEXT NOT NULL,
  manifest_digest TEXT NOT NULL,
  image_ref       TEXT NOT NULL,
  position        INTEGER NOT NULL,
  index_scope     TEXT NOT NULL);
CREATE TABLE instance(id TEXT NOT NULL);
INSERT INTO instance(id) VALUES (lower(hex(randomblob(4))));
)sql";

Result<int64_t> ReadVersion(Database& database) {
  FLOE_ASSIGN_OR_RETURN(Statement statement, database.Prepare("PRAGMA user_version"));
  FLOE_RETURN_IF_ERROR(statement.Step());
  return statement.Int(0);
}

Result<void> CheckIntegrity(Database& database) {
  FLOE_ASSIGN_OR_RETURN(Statement check, database.Prepare("PRAGMA integrity_check(1)"));
  FLOE_RETURN_IF_ERROR(check.Step());
  if (std::string verdict = check.Text(0); verdict != "ok") {
    std::ranges::replace(verdict, '\n', ' ');
    return DataLoss("metadata store is damaged: {}", verdict);
  }
  FLOE_ASSIGN_OR_RETURN(Statement links, database.Prepare("PRAGMA foreign_key_check"));
  FLOE_ASSIGN_OR_RETURN(bool broken, links.Step());
  if (broken) {
    return DataLoss("metadata store is damaged: a row of {} has lost its snapshot", links.Text(0));
  }
  return Ok();
}

}  // namespace

bool IsInstanceId(std::string_view text) {
  constexpr size_t kDigits = 8;
  return text.size() == kDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<void> PrepareSchema(Database& database, Missing missing) {
  FLOE_ASSIGN_OR_RETURN(int64_t version, ReadVersion(database));
  if (version > kSchemaVersion) {
    return FailedPrecondition("metadata store has schema version {}, this program knows up to {}",
                              version, kSchemaVersion);
  }
  if (version == kSchemaVersion) {
    return CheckIntegrity(database);
  }
  if (missing == Missing::kRefuse) {
    return DataLoss("metadata store is gone");
  }
  FLOE_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(database));
  FLOE_RETURN_IF_ERROR(database.Execute(kTables));
  FLOE_RETURN_IF_ERROR(database.Execute(fmt::format("PRAGMA user_version={}", kSchemaVersion)));
  return transaction.Commit();
}

}  // namespace floe::snapshotter
