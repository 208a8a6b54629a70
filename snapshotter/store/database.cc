#include "snapshotter/store/database.h"

#include <sqlite3.h>

#include <utility>

namespace floe::snapshotter {
namespace {

constexpr int kBusyTimeoutMs = 10000;

Error SqliteError(sqlite3* handle, std::string_view what) {
  int code = sqlite3_errcode(handle);
  ErrorCode mapped = ErrorCode::kInternal;
  switch (code) {
    case SQLITE_CONSTRAINT:
      mapped = ErrorCode::kAlreadyExists;
      break;
    case SQLITE_FULL:
    case SQLITE_IOERR:
      mapped = ErrorCode::kResourceExhausted;
      break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      mapped = ErrorCode::kDataLoss;
      break;
    case SQLITE_BUSY:
      mapped = ErrorCode::kUnavailable;
      break;
    default:
      break;
  }
  Error error;
  error.code = mapped;
  error.message = fmt::format("{}: {}", what, sqlite3_errmsg(handle));
  return error;
}

}  // namespace

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement& Statement::Bind(int position, int64_t value) {
  sqlite3_bind_int64(statement_, position, value);
  return *this;
}

Statement& Statement::Bind(int position, std::string_view value) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-cstyle-cast,performance-no-int-to-ptr): SQLite's
  // macro.
  sqlite3_bind_text(statement_, position, value.data(), static_cast<int>(value.size()),
                    reinterpret_cast<sqlite3_destructor_type>(-1));
  return *this;
}

Statement& Statement::BindNull(int position) {
  sqlite3_bind_null(statement_, position);
  return *this;
}

Result<bool> Statement::Step() {
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return SqliteError(sqlite3_db_handle(statement_), "database");
  }
}

Result<void> Statement::Run() {
  FLOE_RETURN_IF_ERROR(Step());
  return Ok();
}

int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_, column); }

std::string Statement::Text(int column) const {
  const auto* text = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  int length = sqlite3_column_bytes(statement_, column);
  return text == nullptr ? std::string() : std::string(text, static_cast<size_t>(length));
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

Result<std::unique_ptr<Database>> Database::Open(const std::filesystem::path& path) {
  sqlite3* handle = nullptr;
  int opened =
      sqlite3_open_v2(path.c_str(), &handle,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  std::unique_ptr<Database> database(new Database(handle));
  if (opened != SQLITE_OK) {
    return SqliteError(handle, path.native());
  }
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  auto check = [&]() -> Result<void> {
    FLOE_ASSIGN_OR_RETURN(Statement statement, database->Prepare("PRAGMA quick_check(1)"));
    FLOE_ASSIGN_OR_RETURN(bool row, statement.Step());
    if (!row || statement.Text(0) != "ok") {
      return DataLoss("integrity check: {}", row ? statement.Text(0) : "no answer");
    }
    return Ok();
  };
  if (auto sound = check(); !sound) {
    return DataLoss("database {} is damaged ({}); try: sqlite3 {} .recover | sqlite3 {}.new",
                    path.native(), sound.error().message, path.native(), path.native());
  }
  FLOE_RETURN_IF_ERROR(database->Execute(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"));
  return database;
}

Database::~Database() { sqlite3_close_v2(handle_); }

Result<Statement> Database::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(handle_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr) !=
      SQLITE_OK) {
    return SqliteError(handle_, "database");
  }
  return Statement(statement);
}

Result<void> Database::Execute(const std::string& sql) {
  if (sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    return SqliteError(handle_, "database");
  }
  return Ok();
}

int64_t Database::LastInsertId() const { return sqlite3_last_insert_rowid(handle_); }

Result<Transaction> Transaction::Begin(Database& database) {
  FLOE_RETURN_IF_ERROR(database.Execute("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Transaction::~Transaction() {
  if (database_ != nullptr) {
    (void)database_->Execute("ROLLBACK");
  }
}

Result<void> Transaction::Commit() {
  FLOE_RETURN_IF_ERROR(database_->Execute("COMMIT"));
  database_ = nullptr;
  return Ok();
}

}  // namespace floe::snapshotter
