#include "image/pax_records.h"

#include <charconv>
#include <limits>
#include <utility>

#include "base/quote.h"

namespace floe::image {
namespace {

constexpr std::string_view kSparseMap = "GNU.sparse.map";
constexpr std::string_view kSparseOffset = "GNU.sparse.offset";
constexpr std::string_view kSparseNumBytes = "GNU.sparse.numbytes";
constexpr uint64_t kMaxSparseRuns = 1U << 20U;
constexpr uint32_t kNanosecondDigits = 9;
constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;

struct Record {
  std::string_view keyword;
  std::string_view value;
};

bool MayHoldNul(std::string_view keyword) {
  return keyword != "path" && keyword != "linkpath" && keyword != "uname" && keyword != "gname";
}

Error Malformed() { return InvalidArgument("malformed PAX record"); }

/// Takes one "LENGTH KEYWORD=VALUE\n" off the front; LENGTH counts all of it.
Result<Record> TakeRecord(std::string_view& content) {
  const size_t space = content.find(' ');
  if (space == std::string_view::npos) {
    return Malformed();
  }
  FLOE_ASSIGN_OR_RETURN(const int64_t length, ParseDecimal(content.substr(0, space)));
  if (length <= static_cast<int64_t>(space) + 1 || static_cast<uint64_t>(length) > content.size()) {
    return Malformed();
  }
  const auto end = static_cast<size_t>(length);
  const std::string_view body = content.substr(space + 1, end - space - 2);
  const size_t equals = body.find('=');
  if (content[end - 1] != '\n' || equals == std::string_view::npos || equals == 0) {
    return Malformed();
  }
  content.remove_prefix(end);
  const Record record{body.substr(0, equals), body.substr(equals + 1)};
  const bool nul = MayHoldNul(record.keyword) ? record.keyword.find('\0') != std::string_view::npos
                                              : record.value.find('\0') != std::string_view::npos;
  if (nul) {
    return InvalidArgument("PAX record {} holds a NUL", Quote(record.keyword));
  }
  return record;
}

/// Sparse format 0.0 repeats two keywords in turn; a comma ends each value.
Result<void> AppendSparseValue(const Record& record, bool want_offset, std::string& map) {
  if ((record.keyword == kSparseOffset) != want_offset ||
      record.value.find(',') != std::string_view::npos) {
    return InvalidArgument("malformed GNU sparse map");
  }
  map.append(record.value).push_back(',');
  return Ok();
}

Result<void> AppendRun(uint64_t offset, uint64_t length, std::vector<SparseRun>& runs) {
  if (runs.size() >= kMaxSparseRuns) {
    return InvalidArgument("the GNU sparse map has too many entries");
  }
  runs.push_back({.offset = offset, .length = length});
  return Ok();
}

Result<uint64_t> ParseUnsigned(std::string_view text) {
  FLOE_ASSIGN_OR_RETURN(const int64_t value, ParseDecimal(text));
  if (value < 0) {
    return InvalidArgument("negative number {} in a GNU sparse map", value);
  }
  return static_cast<uint64_t>(value);
}

Result<void> ApplyNumber(const PaxRecords& records, std::string_view keyword, int64_t& field) {
  const std::string_view value = FindRecord(records, keyword);
  if (!value.empty()) {
    FLOE_ASSIGN_OR_RETURN(field, ParseDecimal(value));
  }
  return Ok();
}

}  // namespace

Result<int64_t> ParseDecimal(std::string_view text) {
  const std::string_view digits = text.starts_with('+') ? text.substr(1) : text;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() ||
      (text.starts_with('+') && digits.starts_with('-'))) {
    return InvalidArgument("not a number: {}", Quote(text.substr(0, 40)));
  }
  return value;
}

Result<PaxTime> ParsePaxTime(std::string_view text) {
  const size_t dot = text.find('.');
  FLOE_ASSIGN_OR_RETURN(const int64_t whole, ParseDecimal(text.substr(0, dot)));
  uint32_t nanoseconds = 0;
  uint32_t digits = 0;
  for (char c : dot == std::string_view::npos ? std::string_view() : text.substr(dot + 1)) {
    if (c < '0' || c > '9') {
      return InvalidArgument("not a time: {}", Quote(text.substr(0, 40)));
    }
    if (digits < kNanosecondDigits) {
      nanoseconds = nanoseconds * 10 + static_cast<uint32_t>(c - '0');
      ++digits;
    }
  }
  for (; digits < kNanosecondDigits; ++digits) {
    nanoseconds *= 10;
  }
  PaxTime time{.seconds = whole, .nanoseconds = nanoseconds};
  if (text.starts_with('-') && nanoseconds != 0 && whole > std::numeric_limits<int64_t>::min()) {
    time.seconds = whole - 1;  // -1.25 s is 0.75 s after -2 s.
    time.nanoseconds = static_cast<uint32_t>(kNanosecondsPerSecond - nanoseconds);
  }
  return time;
}

Result<PaxRecords> ParsePaxRecords(std::string_view content) {
  PaxRecords records;
  std::string sparse_map;
  uint64_t sparse_values = 0;
  while (!content.empty()) {
    FLOE_ASSIGN_OR_RETURN(const Record record, TakeRecord(content));
    if (record.keyword == kSparseOffset || record.keyword == kSparseNumBytes) {
      FLOE_RETURN_IF_ERROR(AppendSparseValue(record, sparse_values % 2 == 0, sparse_map));
      ++sparse_values;
    } else {
      records.insert_or_assign(std::string(record.keyword), std::string(record.value));
    }
  }
  if (sparse_values > 0) {
    sparse_map.pop_back();
    records.insert_or_assign(std::string(kSparseMap), std::move(sparse_map));
  }
  return records;
}

std::string_view FindRecord(const PaxRecords& records, std::string_view keyword) {
  const auto found = records.find(keyword);
  return found == records.end() ? std::string_view() : std::string_view(found->second);
}

Result<void> ApplyPaxRecords(const PaxRecords& records, TarHeader& header) {
  if (const std::string_view path = FindRecord(records, "path"); !path.empty()) {
    header.name = path;
  }
  if (const std::string_view link = FindRecord(records, "linkpath"); !link.empty()) {
    header.link_name = link;
  }
  FLOE_RETURN_IF_ERROR(ApplyNumber(records, "size", header.size));
  FLOE_RETURN_IF_ERROR(ApplyNumber(records, "uid", header.uid));
  FLOE_RETURN_IF_ERROR(ApplyNumber(records, "gid", header.gid));
  for (std::string_view keyword : {"atime", "ctime", "mtime"}) {
    if (const std::string_view value = FindRecord(records, keyword); !value.empty()) {
      FLOE_RETURN_IF_ERROR(ParsePaxTime(value));
    }
  }
  return Ok();
}

SparseFormat DetectSparseFormat(const PaxRecords& records) {
  const std::string_view major = FindRecord(records, "GNU.sparse.major");
  const std::string_view minor = FindRecord(records, "GNU.sparse.minor");
  if (major == "0" && (minor == "0" || minor == "1")) {
    return SparseFormat::kMapInRecords;
  }
  if (major == "1" && minor == "0") {
    return SparseFormat::kMapInData;
  }
  // Formats 0.0 and 0.1 were first written without a version.
  const bool guessed = major.empty() && minor.empty() && !FindRecord(records, kSparseMap).empty();
  return guessed ? SparseFormat::kMapInRecords : SparseFormat::kNone;
}

Result<std::vector<SparseRun>> ParseSparseMapInRecords(const PaxRecords& records) {
  FLOE_ASSIGN_OR_RETURN(const uint64_t count,
                        ParseUnsigned(FindRecord(records, "GNU.sparse.numblocks")));
  std::vector<uint64_t> values;
  std::string_view map = FindRecord(records, kSparseMap);
  while (!map.empty()) {
    const size_t comma = map.find(',');
    FLOE_ASSIGN_OR_RETURN(values.emplace_back(), ParseUnsigned(map.substr(0, comma)));
    if (comma + 1 == map.size()) {
      return InvalidArgument("malformed GNU sparse map");
    }
    map.remove_prefix(comma == std::string_view::npos ? map.size() : comma + 1);
  }
  if (values.size() % 2 != 0 || values.size() / 2 != count) {
    return InvalidArgument("the GNU sparse map has {} numbers, not two for each of {} blocks",
                           values.size(), count);
  }
  std::vector<SparseRun> runs;
  for (size_t i = 0; i < values.size(); i += 2) {
    FLOE_RETURN_IF_ERROR(AppendRun(values[i], values[i + 1], runs));
  }
  return runs;
}

Result<void> CheckSparseRuns(const std::vector<SparseRun>& runs, uint64_t size) {
  uint64_t position = 0;
  for (const SparseRun& run : runs) {
    if (run.offset < position || run.offset > size || run.length > size - run.offset) {
      return InvalidArgument("the GNU sparse map overlaps or passes the end of the file");
    }
    position = run.offset + run.length;
  }
  return Ok();
}

Result<bool> SparseMapReader::AddBlock(TarBlock block) {
  if (++blocks_ * kTarBlockBytes > kMaxTarSpecialBytes) {
    return InvalidArgument("the GNU sparse map is too long");
  }
  for (std::byte byte : block) {
    if (const char c = static_cast<char>(byte); c != '\n') {
      line_.push_back(c);
      continue;
    }
    FLOE_ASSIGN_OR_RETURN(const bool complete, AddLine());
    if (complete) {
      return true;
    }
  }
  return false;
}

Result<bool> SparseMapReader::AddLine() {
  FLOE_ASSIGN_OR_RETURN(const uint64_t value, ParseUnsigned(line_));
  line_.clear();
  if (!have_count_) {
    have_count_ = true;
    runs_left_ = value;
  } else if (!have_offset_) {
    have_offset_ = true;
    offset_ = value;
  } else {
    have_offset_ = false;
    FLOE_RETURN_IF_ERROR(AppendRun(offset_, value, runs_));
    --runs_left_;
  }
  return have_count_ && !have_offset_ && runs_left_ == 0;
}

}  // namespace floe::image
