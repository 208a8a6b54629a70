#include "snapshotter/store/rows.h"

#include <map>
#include <utility>

namespace floe::snapshotter {
namespace {

std::chrono::system_clock::time_point FromNanoseconds(int64_t nanoseconds) {
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(
          std::chrono::nanoseconds(nanoseconds)));
}

// The columns of lazy_layers from `first` on; all null in a left join without such a row.
Result<std::optional<LazyLayer>> ReadLazyLayer(const Statement& row, int first) {
  if (row.IsNull(first)) {
    return std::optional<LazyLayer>();
  }
  LazyLayer layer;
  FLOE_ASSIGN_OR_RETURN(layer.chain_id, Digest::Parse(row.Text(first)));
  FLOE_ASSIGN_OR_RETURN(layer.layer_digest, Digest::Parse(row.Text(first + 1)));
  FLOE_ASSIGN_OR_RETURN(layer.manifest_digest, Digest::Parse(row.Text(first + 2)));
  layer.image_ref = row.Text(first + 3);
  layer.position = static_cast<uint32_t>(row.Int(first + 4));
  layer.index_scope = row.Text(first + 5);
  return std::optional<LazyLayer>(std::move(layer));
}

#define FLOE_LAZY_COLUMNS \
  "l.chain_id, l.layer_digest, l.manifest_digest, l.image_ref, l.position, l.index_scope"

Result<Labels> ReadLabels(Database& database, uint64_t id) {
  FLOE_ASSIGN_OR_RETURN(Statement rows,
                        database.Prepare("SELECT key, value FROM labels WHERE snapshot_id=?"));
  rows.Bind(static_cast<int64_t>(id));
  Labels labels;
  while (true) {
    FLOE_ASSIGN_OR_RETURN(bool more, rows.Step());
    if (!more) {
      return labels;
    }
    labels.emplace(rows.Text(0), rows.Text(1));
  }
}

Result<std::map<uint64_t, Labels>> ReadAllLabels(Database& database) {
  FLOE_ASSIGN_OR_RETURN(Statement rows,
                        database.Prepare("SELECT snapshot_id, key, value FROM labels"));
  std::map<uint64_t, Labels> labels;
  while (true) {
    FLOE_ASSIGN_OR_RETURN(bool more, rows.Step());
    if (!more) {
      return labels;
    }
    labels[static_cast<uint64_t>(rows.Int(0))].emplace(rows.Text(1), rows.Text(2));
  }
}

// Columns: name, parent's name, kind, created_ns, updated_ns from `first` on.
Info ReadInfo(const Statement& row, int first) {
  Info info;
  info.name = row.Text(first);
  info.parent = row.Text(first + 1);
  info.kind = static_cast<Kind>(row.Int(first + 2));
  info.created = FromNanoseconds(row.Int(first + 3));
  info.updated = FromNanoseconds(row.Int(first + 4));
  return info;
}

}  // namespace

int64_t ToNanoseconds(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

Result<std::optional<Snapshot>> FindByName(Database& database, const std::string& name) {
  FLOE_ASSIGN_OR_RETURN(
      Statement row,
      database.Prepare(
          "SELECT s.id, s.name, p.name, s.kind, s.created_ns, s.updated_ns, s.size_bytes, "
          "s.inodes, " FLOE_LAZY_COLUMNS
          " FROM snapshots s LEFT JOIN snapshots p ON p.id=s.parent_id"
          " LEFT JOIN lazy_layers l ON l.snapshot_id=s.id WHERE s.name=?"));
  row.Bind(name);
  FLOE_ASSIGN_OR_RETURN(bool found, row.Step());
  if (!found) {
    return std::optional<Snapshot>();
  }
  Snapshot snapshot;
  snapshot.id = static_cast<uint64_t>(row.Int(0));
  snapshot.info = ReadInfo(row, 1);
  if (!row.IsNull(6)) {
    snapshot.usage = Usage{static_cast<uint64_t>(row.Int(6)), static_cast<uint64_t>(row.Int(7))};
  }
  FLOE_ASSIGN_OR_RETURN(snapshot.lazy, ReadLazyLayer(row, 8));
  FLOE_ASSIGN_OR_RETURN(snapshot.info.labels, ReadLabels(database, snapshot.id));
  return std::optional<Snapshot>(std::move(snapshot));
}

Result<Chain> ReadChain(Database& database, uint64_t id) {
  FLOE_ASSIGN_OR_RETURN(Statement row, database.Prepare("SELECT s.parent_id, " FLOE_LAZY_COLUMNS
                                                        " FROM snapshots s LEFT JOIN lazy_layers l"
                                                        " ON l.snapshot_id=s.id WHERE s.id=?"));
  Chain chain;
  while (id != 0) {
    row.Reset();
    row.Bind(static_cast<int64_t>(id));
    FLOE_ASSIGN_OR_RETURN(bool found, row.Step());
    if (!found) {
      return Internal("metadata store: snapshot {} has no row", id);
    }
    ChainLink link;
    link.id = id;
    FLOE_ASSIGN_OR_RETURN(link.lazy, ReadLazyLayer(row, 1));
    chain.push_back(std::move(link));
    id = static_cast<uint64_t>(row.Int(0));
  }
  return chain;
}

Result<std::vector<Info>> ReadAllInfos(Database& database) {
  FLOE_ASSIGN_OR_RETURN(auto labels, ReadAllLabels(database));
  FLOE_ASSIGN_OR_RETURN(
      Statement rows,
      database.Prepare("SELECT s.id, s.name, p.name, s.kind, s.created_ns, s.updated_ns"
                       " FROM snapshots s LEFT JOIN snapshots p ON p.id=s.parent_id"
                       " ORDER BY s.id"));
  std::vector<Info> infos;
  while (true) {
    FLOE_ASSIGN_OR_RETURN(bool more, rows.Step());
    if (!more) {
      return infos;
    }
    infos.push_back(ReadInfo(rows, 1));
    infos.back().labels = std::move(labels[static_cast<uint64_t>(rows.Int(0))]);
  }
}

Result<std::vector<Node>> ReadAllNodes(Database& database) {
  FLOE_ASSIGN_OR_RETURN(Statement rows,
                        database.Prepare("SELECT s.id, s.parent_id, s.kind, " FLOE_LAZY_COLUMNS
                                         " FROM snapshots s LEFT JOIN lazy_layers l"
                                         " ON l.snapshot_id=s.id ORDER BY s.id"));
  std::vector<Node> nodes;
  while (true) {
    FLOE_ASSIGN_OR_RETURN(bool more, rows.Step());
    if (!more) {
      return nodes;
    }
    Node node;
    node.id = static_cast<uint64_t>(rows.Int(0));
    node.parent_id = static_cast<uint64_t>(rows.Int(1));
    node.kind = static_cast<Kind>(rows.Int(2));
    FLOE_ASSIGN_OR_RETURN(node.lazy, ReadLazyLayer(rows, 3));
    nodes.push_back(std::move(node));
  }
}

#undef FLOE_LAZY_COLUMNS

Result<uint64_t> InsertSnapshot(Database& database, Kind kind, const std::string& name,
                                uint64_t parent_id, std::chrono::system_clock::time_point now) {
  FLOE_ASSIGN_OR_RETURN(Statement insert,
                        database.Prepare("INSERT INTO snapshots(name, parent_id, kind, created_ns,"
                                         " updated_ns) VALUES(?, ?, ?, ?, ?)"));
  insert.Bind(name);
  if (parent_id != 0) {
    insert.Bind(static_cast<int64_t>(parent_id));
  } else {
    insert.BindNull();
  }
  insert.Bind(static_cast<int64_t>(kind)).Bind(ToNanoseconds(now)).Bind(ToNanoseconds(now));
  if (auto inserted = insert.Run(); !inserted) {
    if (inserted.error().code == ErrorCode::kAlreadyExists) {
      return AlreadyExists("snapshot {} already exists", name);
    }
    return inserted.error();
  }
  return static_cast<uint64_t>(database.LastInsertId());
}

Result<void> ReplaceLabels(Database& database, uint64_t id, const Labels& labels) {
  FLOE_ASSIGN_OR_RETURN(Statement clear,
                        database.Prepare("DELETE FROM labels WHERE snapshot_id=?"));
  FLOE_RETURN_IF_ERROR(clear.Bind(static_cast<int64_t>(id)).Run());
  FLOE_ASSIGN_OR_RETURN(
      Statement insert,
      database.Prepare("INSERT INTO labels(snapshot_id, key, value) VALUES(?, ?, ?)"));
  for (const auto& [key, value] : labels) {
    insert.Reset();
    FLOE_RETURN_IF_ERROR(insert.Bind(static_cast<int64_t>(id)).Bind(key).Bind(value).Run());
  }
  return Ok();
}

Result<void> InsertLazyLayer(Database& database, uint64_t id, const LazyLayer& layer) {
  FLOE_ASSIGN_OR_RETURN(Statement insert,
                        database.Prepare("INSERT INTO lazy_layers VALUES(?, ?, ?, ?, ?, ?, ?)"));
  insert.Bind(static_cast<int64_t>(id))
      .Bind(layer.chain_id.ToString())
      .Bind(layer.layer_digest.ToString())
      .Bind(layer.manifest_digest.ToString())
      .Bind(layer.image_ref)
      .Bind(static_cast<int64_t>(layer.position))
      .Bind(layer.index_scope);
  return insert.Run();
}

}  // namespace floe::snapshotter
