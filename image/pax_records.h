#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/tar_header.h"

/// PAX extended headers (POSIX.1-2001 pax, "pax Extended Header") and the sparse maps that GNU tar
/// puts into them (formats 0.0, 0.1 and 1.0; tar manual, "Storing Sparse Files"). All errors are
/// InvalidArgument; what is accepted is what Go's archive/tar accepts.
namespace floe::image {

/// Keyword -> value; a later record of the same keyword wins. Values may hold any bytes.
using PaxRecords = std::map<std::string, std::string, std::less<>>;

/// The content of an 'x' or 'g' entry. The repeated keywords of sparse format 0.0 are folded into
/// the one record that format 0.1 has (GNU.sparse.map).
Result<PaxRecords> ParsePaxRecords(std::string_view content);

/// The record's value; empty when there is none.
std::string_view FindRecord(const PaxRecords& records, std::string_view keyword);

/// "123", "+123" or "-123", all of it.
Result<int64_t> ParseDecimal(std::string_view text);

/// Seconds since the epoch with a fraction, "1700000000.5": nanoseconds is 0..999999999.
struct PaxTime {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;
};
Result<PaxTime> ParsePaxTime(std::string_view text);

/// Puts path, linkpath, size, uid and gid into the header (empty values say nothing) and checks the
/// times. mtime's fraction is the caller's business (FindRecord, ParsePaxTime).
Result<void> ApplyPaxRecords(const PaxRecords& records, TarHeader& header);

/// What the records say about a sparse file.
enum class SparseFormat { kNone, kMapInRecords, kMapInData };
SparseFormat DetectSparseFormat(const PaxRecords& records);

/// A run of data in a sparse file.
struct SparseRun {
  uint64_t offset = 0;
  uint64_t length = 0;
};
/// Formats 0.0 and 0.1.
Result<std::vector<SparseRun>> ParseSparseMapInRecords(const PaxRecords& records);
/// Runs are in order, do not overlap and end within `size`.
Result<void> CheckSparseRuns(const std::vector<SparseRun>& runs, uint64_t size);

/// Reads the map of format 1.0 that precedes the data: decimal lines, padded to whole blocks.
class SparseMapReader {
 public:
  /// True: the map ended inside this block. Not to be called again after that.
  Result<bool> AddBlock(TarBlock block);
  std::vector<SparseRun> TakeRuns() { return std::move(runs_); }

 private:
  Result<bool> AddLine();

  std::string line_;
  uint64_t blocks_ = 0;
  bool have_count_ = false;
  bool have_offset_ = false;
  uint64_t runs_left_ = 0;
  uint64_t offset_ = 0;
  std::vector<SparseRun> runs_;
};

/// Largest content of an 'x', 'g', 'L' or 'K' entry and largest sparse map, as in Go.
inline constexpr uint64_t kMaxTarSpecialBytes = 1U << 20U;

}  // namespace floe::image
