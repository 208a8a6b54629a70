#include "snapshotter/store/sqlite.h"

#include <sqlite3.h>

#include <utility>

namespace floe::snapshotter {
namespace {

// Only a stray sqlite3 shell ever holds the lock; the daemon is alone in its root.
constexpr int kBusyTimeoutMs = 2000;

Error SqliteError(int code, sqlite3* handle, std::string_view what) {
  const char* detail = handle != nullptr ? sqlite3_errmsg(handle) : sqlite3_errstr(code);
  std::string message = fmt::format("metadata store: {}: {}", what, detail);
  if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY) {
    return Error{ErrorCode::kAlreadyExists, std::move(message)};
  }
  constexpr int kPrimaryCodeMask = 0xff;
  switch (code & kPrimaryCodeMask) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Error{ErrorCode::kDataLoss, std::move(message)};
    case SQLITE_FULL:
      return Error{ErrorCode::kResourceExhausted, std::move(message)};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Error{ErrorCode::kUnavailable, std::move(message)};
    default:
      return Error{ErrorCode::kInternal, std::move(message)};
  }
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Statement& Statement::Bind(int64_t value) {
  const int code = sqlite3_bind_int64(statement_.get(), next_parameter_++, value);
  bind_error_ = code != SQLITE_OK ? code : bind_error_;
  return *this;
}

Statement& Statement::Bind(std::string_view value) {
  // The destructor argument spelt out: the macro SQLITE_TRANSIENT is an old-style cast.
  const auto transient = reinterpret_cast<sqlite3_destructor_type>(intptr_t{-1});
  const int code =
      sqlite3_bind_text64(statement_.get(), next_parameter_++, value.empty() ? "" : value.data(),
                          value.size(), transient, SQLITE_UTF8);
  bind_error_ = code != SQLITE_OK ? code : bind_error_;
  return *this;
}

Statement& Statement::BindNull() {
  const int code = sqlite3_bind_null(statement_.get(), next_parameter_++);
  bind_error_ = code != SQLITE_OK ? code : bind_error_;
  return *this;
}

Result<bool> Statement::Step() {
  sqlite3* handle = sqlite3_db_handle(statement_.get());
  if (bind_error_ != SQLITE_OK) {
    return SqliteError(bind_error_, nullptr, "bind");
  }
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) {
    return true;
  }
  if (code == SQLITE_DONE) {
    return false;
  }
  return SqliteError(sqlite3_extended_errcode(handle), handle, "step");
}

Result<void> Statement::Run() {
  FLOE_ASSIGN_OR_RETURN(bool row, Step());
  (void)row;
  return Ok();
}

void Statement::Reset() {
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
  next_parameter_ = 1;
  bind_error_ = SQLITE_OK;
}

int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }

std::string Statement::Text(int column) const {
  const void* text = sqlite3_column_blob(statement_.get(), column);
  const int length = sqlite3_column_bytes(statement_.get(), column);
  return text == nullptr ? std::string()
                         : std::string(static_cast<const char*>(text), static_cast<size_t>(length));
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

Result<std::unique_ptr<Database>> Database::Open(const std::filesystem::path& path) {
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<Database> database(new Database(handle));
  if (code != SQLITE_OK) {
    return SqliteError(code, handle, "open " + path.native());
  }
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  // FULL: containerd's own store is synced at every commit; a power cut must not leave this one
  // behind it.
  FLOE_RETURN_IF_ERROR(database->Execute(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"));
  return database;
}

Database::~Database() { sqlite3_close_v2(handle_); }

Result<Statement> Database::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code =
      sqlite3_prepare_v2(handle_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  if (code != SQLITE_OK) {
    return SqliteError(code, handle_, "prepare");
  }
  return Statement(statement);
}

Result<void> Database::Execute(const std::string& sql) {
  const int code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) {
    return SqliteError(code, handle_, "execute");
  }
  return Ok();
}

int64_t Database::LastInsertId() const { return sqlite3_last_insert_rowid(handle_); }

Result<Transaction> Transaction::Begin(Database& database) {
  FLOE_RETURN_IF_ERROR(database.Execute("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Transaction::Transaction(Transaction&& other) noexcept
    : database_(std::exchange(other.database_, nullptr)) {}

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
