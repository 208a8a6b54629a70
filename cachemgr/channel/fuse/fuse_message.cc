#include "cachemgr/channel/fuse/fuse_message.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace floe::cachemgr {
namespace {

// Protocol 7.31 came with Linux 5.4; max_pages, which we rely on, with 7.28.
constexpr uint32_t kMinMinor = 31;
// Many readers of many mounts share one connection, and every read-ahead request is a background
// request; the kernel's default of 12 would make them queue behind each other.
constexpr uint16_t kMaxBackground = 256;
constexpr uint16_t kCongestionThreshold = 192;
// Nothing is written; the smallest value keeps the request buffer small.
constexpr uint32_t kMaxWriteBytes = 4096;
constexpr uint32_t kPageBytes = 4096;

template <typename T>
void Store(std::span<std::byte> buffer, size_t offset, const T& value) {
  FLOE_CHECK(offset + sizeof(T) <= buffer.size());
  std::memcpy(buffer.data() + offset, &value, sizeof(T));
}

}  // namespace

Result<FuseRequest> FuseRequest::Parse(std::span<const std::byte> message) {
  fuse_in_header header{};
  if (message.size() < sizeof(header)) {
    return InvalidArgument("FUSE request of {} bytes has no header", message.size());
  }
  std::memcpy(&header, message.data(), sizeof(header));
  if (header.len != message.size()) {
    return InvalidArgument("FUSE request of {} bytes says it has {}", message.size(), header.len);
  }
  return FuseRequest{.opcode = header.opcode,
                     .unique = header.unique,
                     .node = header.nodeid,
                     .body = message.subspan(sizeof(header))};
}

template <typename T>
Result<T> FuseRequest::Body() const {
  T value{};
  if (body.size() < sizeof(T)) {
    return InvalidArgument("FUSE request opcode={} has a body of {} bytes, not {}", opcode,
                           body.size(), sizeof(T));
  }
  std::memcpy(&value, body.data(), sizeof(T));
  return value;
}

template Result<fuse_forget_in> FuseRequest::Body() const;
template Result<fuse_batch_forget_in> FuseRequest::Body() const;
template Result<fuse_open_in> FuseRequest::Body() const;
template Result<fuse_read_in> FuseRequest::Body() const;

template <>
Result<fuse_init_in> FuseRequest::Body() const {
  // Before protocol 7.36 the body ends after `flags`.
  constexpr size_t kShortBytes = offsetof(fuse_init_in, flags2);
  if (body.size() < kShortBytes) {
    return InvalidArgument("FUSE INIT has a body of {} bytes", body.size());
  }
  fuse_init_in value{};
  std::memcpy(&value, body.data(), std::min(body.size(), sizeof(value)));
  return value;
}

Result<std::string_view> FuseRequest::Name() const {
  const std::string_view text(reinterpret_cast<const char*>(body.data()), body.size());
  const size_t end = text.find('\0');
  if (end == std::string_view::npos) {
    return InvalidArgument("FUSE request opcode={} has a name without end", opcode);
  }
  return text.substr(0, end);
}

size_t FuseReplyWriter::Finish(uint64_t unique, size_t body_bytes) {
  fuse_out_header header{};
  header.len = static_cast<uint32_t>(sizeof(header) + body_bytes);
  header.unique = unique;
  Store(buffer_, 0, header);
  return header.len;
}

size_t FuseReplyWriter::Error(uint64_t unique, int error_number) {
  fuse_out_header header{};
  header.len = sizeof(header);
  header.error = -error_number;
  header.unique = unique;
  Store(buffer_, 0, header);
  return sizeof(header);
}

template <typename T>
size_t FuseReplyWriter::Struct(uint64_t unique, const T& body) {
  Store(buffer_, kFuseReplyHeaderBytes, body);
  return Finish(unique, sizeof(T));
}

template size_t FuseReplyWriter::Struct(uint64_t, const fuse_init_out&);
template size_t FuseReplyWriter::Struct(uint64_t, const fuse_entry_out&);
template size_t FuseReplyWriter::Struct(uint64_t, const fuse_attr_out&);
template size_t FuseReplyWriter::Struct(uint64_t, const fuse_open_out&);
template size_t FuseReplyWriter::Struct(uint64_t, const fuse_statfs_out&);

bool FuseReplyWriter::AddEntry(uint64_t node, uint64_t next_offset, uint32_t type,
                               std::string_view name, size_t limit_bytes) {
  const size_t entry_bytes = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name.size());
  const size_t at = kFuseReplyHeaderBytes + body_bytes_;
  if (body_bytes_ + entry_bytes > limit_bytes || at + entry_bytes > buffer_.size()) {
    return false;
  }
  fuse_dirent entry{};
  entry.ino = node;
  entry.off = next_offset;
  entry.namelen = static_cast<uint32_t>(name.size());
  entry.type = type;
  std::memset(buffer_.data() + at, 0, entry_bytes);
  std::memcpy(buffer_.data() + at, &entry, FUSE_NAME_OFFSET);
  std::memcpy(buffer_.data() + at + FUSE_NAME_OFFSET, name.data(), name.size());
  body_bytes_ += entry_bytes;
  return true;
}

Result<fuse_init_out> NegotiateFuse(const fuse_init_in& kernel) {
  if (kernel.major != FUSE_KERNEL_VERSION || kernel.minor < kMinMinor) {
    return FailedPrecondition("the kernel speaks FUSE {}.{}, {}.{} or later is needed",
                              kernel.major, kernel.minor, FUSE_KERNEL_VERSION, kMinMinor);
  }
  uint64_t offered = kernel.flags;
  if ((offered & FUSE_INIT_EXT) != 0) {
    offered |= static_cast<uint64_t>(kernel.flags2) << 32U;
  }
  constexpr uint64_t kWanted = FUSE_ASYNC_READ | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS |
                               FUSE_MAX_PAGES | FUSE_EXPLICIT_INVAL_DATA | FUSE_INIT_EXT |
                               kFuseHasResend;
  const uint64_t granted = offered & kWanted;
  fuse_init_out answer{};
  answer.major = FUSE_KERNEL_VERSION;
  answer.minor = std::min<uint32_t>(kernel.minor, FUSE_KERNEL_MINOR_VERSION);
  answer.max_readahead = std::max(kernel.max_readahead, kFuseMaxReadBytes);
  answer.flags = static_cast<uint32_t>(granted);
  answer.flags2 = static_cast<uint32_t>(granted >> 32U);
  answer.max_background = kMaxBackground;
  answer.congestion_threshold = kCongestionThreshold;
  answer.max_write = kMaxWriteBytes;
  answer.time_gran = 1;
  answer.max_pages = kFuseMaxReadBytes / kPageBytes;
  return answer;
}

}  // namespace floe::cachemgr
