#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

/// A thin owner of SQLite's handles. One thread at a time; the caller locks.
namespace floe::snapshotter {

/// A prepared statement; finalised at the end of its scope. Parameters are numbered from 1,
/// columns from 0. A failed Bind shows up as the error of the next Step.
class Statement {
 public:
  Statement(Statement&&) noexcept = default;
  Statement& operator=(Statement&&) noexcept = default;

  Statement& Bind(int64_t value);
  Statement& Bind(std::string_view value);
  Statement& BindNull();

  /// True: there is a row. False: done.
  Result<bool> Step();
  /// For statements that return no rows.
  Result<void> Run();
  /// Ready to be bound from the first parameter and run again.
  void Reset();

  [[nodiscard]] int64_t Int(int column) const;
  [[nodiscard]] std::string Text(int column) const;
  [[nodiscard]] bool IsNull(int column) const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}

  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int next_parameter_ = 1;
  int bind_error_ = 0;
};

/// One connection. Errors: DataLoss (not a database, or damaged), ResourceExhausted (disk full),
/// Unavailable (locked by another process), AlreadyExists (a unique value), else Internal.
class Database {
 public:
  /// Opens or makes the file, in WAL mode with every commit durable.
  static Result<std::unique_ptr<Database>> Open(const std::filesystem::path& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Result<Statement> Prepare(std::string_view sql);
  /// One or more statements without parameters and rows.
  Result<void> Execute(const std::string& sql);
  [[nodiscard]] int64_t LastInsertId() const;

 private:
  explicit Database(sqlite3* handle) : handle_(handle) {}
  sqlite3* handle_;
};

/// BEGIN IMMEDIATE ... COMMIT; rolled back at the end of the scope unless committed.
class Transaction {
 public:
  static Result<Transaction> Begin(Database& database);
  ~Transaction();
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;

  Result<void> Commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;  ///< Null: nothing left to roll back.
};

}  // namespace floe::snapshotter
