#include "image/tar_reader.h"

#include <algorithm>

#include "base/quote.h"
#include "image/layer_index.h"

namespace floe::image {
namespace {

constexpr std::string_view kXattrPrefix = "SCHILY.xattr.";

constexpr char kRegular = '0';
constexpr char kDirectory = '5';
constexpr char kGlobalHeader = 'g';
constexpr char kOldSparse = 'S';

/// The types '1' to '6' have no content, whatever their size field says.
bool HasContent(char type) { return type < '1' || type > '6'; }

bool IsSpecial(char type) {
  return type == 'x' || type == kGlobalHeader || type == 'L' || type == 'K';
}

uint64_t PaddingAfter(uint64_t size) { return AlignUp(size, kTarBlockBytes) - size; }

std::string UntilNul(const std::string& text) { return text.substr(0, text.find('\0')); }

/// v7 archives mark directories with a slash. '7' (contiguous file) is a regular file to POSIX.
char NormalType(const TarHeader& header) {
  if (header.type == '\0') {
    return header.name.ends_with('/') ? kDirectory : kRegular;
  }
  return header.type == '7' ? kRegular : header.type;
}

/// Sizes are signed in the archive.
Result<uint64_t> CheckSize(int64_t size, uint64_t limit) {
  if (size < 0 || static_cast<uint64_t>(size) > limit) {
    return InvalidArgument("absurd size {}", size);
  }
  return static_cast<uint64_t>(size);
}

}  // namespace

Result<void> TarReader::Feed(std::span<const std::byte> bytes) {
  while (!bytes.empty() && state_ != State::kEnd) {
    if (Result<void> result = Step(bytes); !result.has_value()) {
      return WithContext(std::move(result).error(),
                         fmt::format("tar header at offset {}", header_position_));
    }
  }
  return Ok();
}

Result<void> TarReader::Finish() {
  const bool between_entries = state_ == State::kHeader && block_filled_ == 0;
  if (between_entries || state_ == State::kPadding || state_ == State::kEnd) {
    return Ok();
  }
  return InvalidArgument("the tar archive is cut off at offset {}", position_);
}

Result<void> TarReader::Step(std::span<const std::byte>& bytes) {
  switch (state_) {
    case State::kHeader:
      return FillBlock(bytes) ? OnBlock() : Ok();
    case State::kSparseMap:
      return FillBlock(bytes) ? OnSparseBlock() : Ok();
    case State::kSpecial: {
      const auto taken = Take(bytes, data_left_);
      special_.append(reinterpret_cast<const char*>(taken.data()), taken.size());
      return data_left_ == 0 ? OnSpecial() : Ok();
    }
    case State::kData:
      return OnData(bytes);
    case State::kPadding:
      Take(bytes, padding_left_);
      SkipRest();
      return Ok();
    case State::kEnd:
      break;
  }
  return Ok();
}

Result<void> TarReader::OnData(std::span<const std::byte>& bytes) {
  const uint64_t offset = position_;
  const auto taken = Take(bytes, data_left_);
  SkipRest();
  return sink_.OnContent(offset, taken);
}

std::span<const std::byte> TarReader::Take(std::span<const std::byte>& bytes, uint64_t& left) {
  const auto taken = bytes.first(std::min<uint64_t>(bytes.size(), left));
  bytes = bytes.subspan(taken.size());
  left -= taken.size();
  position_ += taken.size();
  return taken;
}

bool TarReader::FillBlock(std::span<const std::byte>& bytes) {
  if (block_filled_ == 0 && state_ == State::kHeader) {
    header_position_ = position_;
  }
  uint64_t left = kTarBlockBytes - block_filled_;
  const auto taken = Take(bytes, left);
  std::copy(taken.begin(), taken.end(), block_.begin() + static_cast<ptrdiff_t>(block_filled_));
  block_filled_ = (block_filled_ + taken.size()) % kTarBlockBytes;
  return left == 0;
}

Result<void> TarReader::OnBlock() {
  if (IsZeroBlock(block_)) {
    state_ = zero_block_seen_ ? State::kEnd : State::kHeader;
    zero_block_seen_ = true;
    return Ok();
  }
  if (zero_block_seen_) {
    return InvalidArgument("a lone zero block precedes it");
  }
  return OnHeader();
}

Result<void> TarReader::OnHeader() {
  FLOE_ASSIGN_OR_RETURN(header_, ParseTarHeader(block_));
  if (!IsSpecial(header_.type)) {
    return OnFile();
  }
  FLOE_ASSIGN_OR_RETURN(data_left_, CheckSize(header_.size, kMaxTarSpecialBytes));
  padding_left_ = PaddingAfter(data_left_);
  special_.clear();
  state_ = State::kSpecial;
  return data_left_ == 0 ? OnSpecial() : Ok();
}

Result<void> TarReader::OnSpecial() {
  switch (header_.type) {
    case 'L':
      long_name_ = UntilNul(special_);
      break;
    case 'K':
      long_link_ = UntilNul(special_);
      break;
    default:
      FLOE_RETURN_IF_ERROR(OnPaxRecords());
  }
  SkipRest();
  return Ok();
}

Result<void> TarReader::OnPaxRecords() {
  FLOE_ASSIGN_OR_RETURN(records_, ParsePaxRecords(special_));
  if (header_.type != kGlobalHeader) {
    return Ok();
  }
  FLOE_RETURN_IF_ERROR(ApplyPaxRecords(records_, header_));
  entry_ = {};
  entry_.type = kGlobalHeader;
  entry_.name = std::move(header_.name);
  return Emit();
}

Result<void> TarReader::OnFile() {
  FLOE_RETURN_IF_ERROR(ApplyPaxRecords(records_, header_));
  if (!long_name_.empty()) {
    header_.name = std::move(long_name_);
  }
  if (!long_link_.empty()) {
    header_.link_name = std::move(long_link_);
  }
  header_.type = NormalType(header_);
  FLOE_RETURN_IF_ERROR(FillEntry());
  if (Result<void> result = StartContent(); !result.has_value()) {
    return WithContext(std::move(result).error(), Quote(entry_.name));
  }
  return state_ == State::kSparseMap ? Ok() : Emit();
}

Result<void> TarReader::FillEntry() {
  entry_ = {};
  entry_.type = header_.type;
  entry_.name = std::move(header_.name);
  entry_.link_name = std::move(header_.link_name);
  entry_.mode = header_.mode;
  entry_.uid = header_.uid;
  entry_.gid = header_.gid;
  entry_.mtime_seconds = header_.mtime_seconds;
  entry_.dev_major = header_.dev_major;
  entry_.dev_minor = header_.dev_minor;
  if (const std::string_view mtime = FindRecord(records_, "mtime"); !mtime.empty()) {
    FLOE_ASSIGN_OR_RETURN(const PaxTime time, ParsePaxTime(mtime));
    entry_.mtime_seconds = time.seconds;
    entry_.mtime_nanoseconds = time.nanoseconds;
  }
  for (auto record = records_.lower_bound(kXattrPrefix);
       record != records_.end() && record->first.starts_with(kXattrPrefix); ++record) {
    entry_.xattrs.emplace_back(record->first.substr(kXattrPrefix.size()), record->second);
  }
  return Ok();
}

Result<void> TarReader::StartContent() {
  data_left_ = 0;
  const bool has_content = HasContent(entry_.type);
  if (has_content) {
    FLOE_ASSIGN_OR_RETURN(data_left_, CheckSize(header_.size, kMaxFileBytes));
  }
  padding_left_ = PaddingAfter(data_left_);
  entry_.size_bytes = data_left_;
  if (entry_.type == kOldSparse) {
    return InvalidArgument("unhandled tar header type 83 (old GNU sparse file)");
  }
  const SparseFormat format = DetectSparseFormat(records_);
  if (format == SparseFormat::kNone) {
    return MapData({{.offset = 0, .length = data_left_}});
  }
  if (!has_content) {
    return InvalidArgument("a sparse map on what has no content");
  }
  return StartSparse(format);
}

Result<void> TarReader::StartSparse(SparseFormat format) {
  if (const std::string_view name = FindRecord(records_, "GNU.sparse.name"); !name.empty()) {
    entry_.name = name;
  }
  std::string_view size = FindRecord(records_, "GNU.sparse.size");
  size = size.empty() ? FindRecord(records_, "GNU.sparse.realsize") : size;
  if (!size.empty()) {
    FLOE_ASSIGN_OR_RETURN(const int64_t value, ParseDecimal(size));
    FLOE_ASSIGN_OR_RETURN(entry_.size_bytes, CheckSize(value, kMaxFileBytes));
  }
  if (format == SparseFormat::kMapInData) {
    sparse_map_ = {};
    state_ = State::kSparseMap;
    return Ok();
  }
  FLOE_ASSIGN_OR_RETURN(const std::vector<SparseRun> runs, ParseSparseMapInRecords(records_));
  return MapData(runs);
}

Result<void> TarReader::OnSparseBlock() {
  if (data_left_ < kTarBlockBytes) {
    return InvalidArgument("{}: the GNU sparse map passes the end of the data", Quote(entry_.name));
  }
  data_left_ -= kTarBlockBytes;
  FLOE_ASSIGN_OR_RETURN(const bool complete, sparse_map_.AddBlock(block_));
  if (!complete) {
    return Ok();
  }
  if (Result<void> result = MapData(sparse_map_.TakeRuns()); !result.has_value()) {
    return WithContext(std::move(result).error(), Quote(entry_.name));
  }
  return Emit();
}

//  file      |    hole    |  run 0  |   hole   | run 1 |  hole |
//  archive                   [ run 0 | run 1 ]  padding
//                            ^ position_
Result<void> TarReader::MapData(const std::vector<SparseRun>& runs) {
  FLOE_RETURN_IF_ERROR(CheckSparseRuns(runs, entry_.size_bytes));
  uint64_t used = 0;
  for (const SparseRun& run : runs) {
    if (run.length > 0) {
      entry_.data.push_back(
          {.file_offset = run.offset, .archive_offset = position_ + used, .length = run.length});
      used += run.length;
    }
  }
  if (used != data_left_) {
    return InvalidArgument("the GNU sparse map covers {} bytes, the archive holds {}", used,
                           data_left_);
  }
  return Ok();
}

Result<void> TarReader::Emit() {
  records_.clear();
  long_name_.clear();
  long_link_.clear();
  entry_.content_offset = position_;
  entry_.content_bytes = data_left_;
  SkipRest();
  return sink_.OnEntry(entry_);
}

void TarReader::SkipRest() {
  state_ = data_left_ > 0 ? State::kData : padding_left_ > 0 ? State::kPadding : State::kHeader;
}

}  // namespace floe::image
