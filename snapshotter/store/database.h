#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace floe::snapshotter {

/// A prepared statement. Bind from 1; Step until false. One thread at a time, like its database.
class Statement {
 public:
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
  Statement(Statement&& other) noexcept : statement_(other.statement_) {
    other.statement_ = nullptr;
  }
  Statement& operator=(Statement&&) = delete;
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  ~Statement();

  Statement& Bind(int position, int64_t value);
  Statement& Bind(int position, std::string_view value);
  Statement& BindNull(int position);

  /// True: a row is there. False: done. AlreadyExists: a unique constraint was broken.
  Result<bool> Step();
  /// For statements without rows.
  Result<void> Run();

  [[nodiscard]] int64_t Int(int column) const;
  [[nodiscard]] std::string Text(int column) const;
  [[nodiscard]] bool IsNull(int column) const;

 private:
  sqlite3_stmt* statement_;
};

/// One SQLite connection in WAL mode. Callers serialise its use.
class Database {
 public:
  /// Opens or creates, and checks integrity. DataLoss (with the command that helps) when it is
  /// damaged.
  static Result<std::unique_ptr<Database>> Open(const std::filesystem::path& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Result<Statement> Prepare(std::string_view sql);
  /// Statements without parameters or rows.
  Result<void> Execute(const std::string& sql);
  [[nodiscard]] int64_t LastInsertId() const;

 private:
  explicit Database(sqlite3* handle) : handle_(handle) {}
  sqlite3* handle_;
};

/// BEGIN IMMEDIATE; rolled back unless Commit succeeded.
class Transaction {
 public:
  static Result<Transaction> Begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(other.database_) {
    other.database_ = nullptr;
  }
  Transaction& operator=(Transaction&&) = delete;
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction();
  Result<void> Commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

}  // namespace floe::snapshotter
