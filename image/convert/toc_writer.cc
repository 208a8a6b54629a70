#include "image/convert/toc_writer.h"

#include <chrono>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/quote.h"
#include "image/convert/base64.h"

namespace floe::image {
namespace {

using Json = nlohmann::ordered_json;

Result<std::string_view> TypeName(char type) {
  switch (type) {
    case '0':
      return "reg";
    case '1':
      return "hardlink";
    case '2':
      return "symlink";
    case '3':
      return "char";
    case '4':
      return "block";
    case '5':
      return "dir";
    case '6':
      return "fifo";
    default:
      return Unimplemented("tar type {} has no place in a table of contents", int{type});
  }
}

void SetUnlessZero(Json& row, const char* key, int64_t value) {
  if (value != 0) {
    row[key] = value;
  }
}

// nlohmann throws where a string is not UTF-8; no other failure is possible.
Result<std::string> Dump(const Json& row) {
  try {
    return row.dump();
  } catch (const Json::exception&) {
    return Unimplemented("a name that is not UTF-8 has no place in a table of contents");
  }
}

void SetChunk(Json& row, const WrittenChunk& chunk, bool whole_file) {
  row["offset"] = chunk.blob_offset;
  if (chunk.file_offset != 0) {
    row["chunkOffset"] = chunk.file_offset;
  }
  if (!whole_file) {
    row["chunkSize"] = chunk.length;
  }
  row["chunkDigest"] = chunk.digest.ToString();
}

void SetContent(Json& row, const TocContent& content) {
  row["digest"] = content.digest.ToString();
  if (content.chunks.empty()) {
    return;
  }
  SetChunk(row, content.chunks.front(), content.chunks.size() == 1);
  if (content.blob_end != 0) {
    row["endOffset"] = content.blob_end;
  }
}

Json XattrsRow(const TarEntry& entry) {
  Json xattrs = Json::object();
  for (const auto& [name, value] : entry.xattrs) {
    xattrs[name] = Base64Encode(value);
  }
  return xattrs;
}

Result<Json> EntryRow(const TarEntry& entry) {
  Json row;
  FLOE_ASSIGN_OR_RETURN(row["type"], TypeName(entry.type));
  row["name"] = entry.name;
  if (!entry.link_name.empty()) {
    row["linkName"] = entry.link_name;
  }
  SetUnlessZero(row, "mode", entry.mode);
  if (entry.type == '0') {
    SetUnlessZero(row, "size", static_cast<int64_t>(entry.size_bytes));
  }
  SetUnlessZero(row, "uid", entry.uid);
  SetUnlessZero(row, "gid", entry.gid);
  FLOE_ASSIGN_OR_RETURN(row["modtime"],
                        FormatRfc3339(entry.mtime_seconds, entry.mtime_nanoseconds));
  SetUnlessZero(row, "devMajor", entry.dev_major);
  SetUnlessZero(row, "devMinor", entry.dev_minor);
  if (!entry.xattrs.empty()) {
    row["xattrs"] = XattrsRow(entry);
  }
  return row;
}

Result<std::string> EntryText(const TarEntry& entry, const TocContent* content) {
  FLOE_ASSIGN_OR_RETURN(Json row, EntryRow(entry));
  if (content != nullptr) {
    SetContent(row, *content);
  }
  return Dump(row);
}

std::string ChunkText(const TarEntry& entry, const WrittenChunk& chunk) {
  Json row{{"type", "chunk"}, {"name", entry.name}};
  SetChunk(row, chunk, false);
  return row.dump();  // The name was in the entry's row before.
}

}  // namespace

Result<std::string> FormatRfc3339(int64_t seconds, uint32_t nanoseconds) {
  constexpr int64_t kSecondsPerDay = 86400;
  constexpr int64_t kFirst = -62167219200;  // 0000-01-01T00:00:00Z
  constexpr int64_t kEnd = 253402300800;    // 10000-01-01T00:00:00Z
  if (seconds < kFirst || seconds >= kEnd) {
    return OutOfRange("the time {} s has a year that RFC 3339 cannot write", seconds);
  }
  const int64_t day =
      seconds / kSecondsPerDay - (seconds % kSecondsPerDay < 0 ? int64_t{1} : int64_t{0});
  const std::chrono::year_month_day date{
      std::chrono::sys_days{std::chrono::days{static_cast<int>(day)}}};
  const int64_t time = seconds - day * kSecondsPerDay;
  std::string text =
      fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()),
                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                  time / 3600, time / 60 % 60, time % 60);
  if (nanoseconds != 0) {
    text += fmt::format(".{:09}", nanoseconds);
    text.erase(text.find_last_not_of('0') + 1);
  }
  return text + "Z";
}

Result<void> TocWriter::Add(const TarEntry& entry, const TocContent* content) {
  auto row = EntryText(entry, content);
  if (!row.has_value()) {
    Error error = std::move(row).error();
    error.code = ErrorCode::kUnimplemented;
    return WithContext(std::move(error), Quote(entry.name));
  }
  FLOE_RETURN_IF_ERROR(AddRow(*row));
  for (size_t i = 1; content != nullptr && i < content->chunks.size(); ++i) {
    FLOE_RETURN_IF_ERROR(AddRow(ChunkText(entry, content->chunks[i])));
  }
  return Ok();
}

Result<void> TocWriter::AddRow(const std::string& row) {
  if (rows_.size() + row.size() > kMaxTocBytes) {
    return Unimplemented("a table of contents of more than {} bytes", kMaxTocBytes);
  }
  rows_ += rows_.empty() ? "\n" : ",\n";
  rows_ += row;
  return Ok();
}

std::string TocWriter::Finish(const Digest& tar_split) const {
  std::string text = "{\"version\":1,\"entries\":[" + rows_ + "\n]";
  if (!tar_split.IsZero()) {
    text += ",\"tarSplitDigest\":\"" + tar_split.ToString() + "\"";
  }
  return text + "}\n";
}

}  // namespace floe::image
