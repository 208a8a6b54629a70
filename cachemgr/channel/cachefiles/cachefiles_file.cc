#include "cachemgr/channel/cachefiles/cachefiles_file.h"

#include <linux/cachefiles.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include "base/file.h"

namespace floe::cachemgr {
namespace {

// The offset that lseek(2) finds; nothing when there is none to the end of the file.
Result<std::optional<uint64_t>> Seek(int fd, uint64_t from, int whence) {
  const off_t found = ::lseek(fd, static_cast<off_t>(from), whence);
  if (found >= 0) {
    return static_cast<uint64_t>(found);
  }
  if (errno == ENXIO) {
    return std::nullopt;
  }
  if (errno == ENOBUFS) {
    return Unavailable("the cache file is not attached yet");
  }
  return ErrnoError(errno, "seek in a cache file");
}

}  // namespace

Result<std::shared_ptr<const UniqueFd>> CachefilesFile::Fd() const {
  const MutexLock lock(mutex_);
  if (fd_ == nullptr) {
    return Cancelled("the kernel has closed this cache file");
  }
  return fd_;
}

void CachefilesFile::Close() {
  std::shared_ptr<const UniqueFd> closed;  // Closed without the lock.
  const MutexLock lock(mutex_);
  closed = std::move(fd_);
}

Result<void> CachefilesFile::Write(std::span<const std::byte> bytes, uint64_t offset) {
  if (offset % kBlockBytes != 0 || bytes.size() % kBlockBytes != 0 || offset > size_bytes_ ||
      bytes.size() > size_bytes_ - offset) {
    return Internal("cachefiles: write of {} bytes at {} into a file of {}", bytes.size(), offset,
                    size_bytes_);
  }
  FLOE_ASSIGN_OR_RETURN(const auto fd, Fd());
  auto written = PwriteAll(fd->get(), bytes, offset);
  if (!written && written.error().os_errno == ENOBUFS) {
    // The file is attached, so it is the limit that `bstop` sets.
    Error full = ResourceExhausted("the cache file system is below its limit of free space");
    full.os_errno = ENOSPC;
    return full;
  }
  return written;
}

Result<void> CachefilesFile::WriteZeros(ByteRange range) {
  constexpr uint64_t kZeroBytes = 64U << 10U;
  alignas(kBlockBytes) static const std::array<std::byte, kZeroBytes> kZeros{};
  while (!range.empty()) {
    const uint64_t length = std::min(range.length, kZeroBytes);
    FLOE_RETURN_IF_ERROR(Write(std::span(kZeros).first(length), range.offset));
    range = {.offset = range.offset + length, .length = range.length - length};
  }
  return Ok();
}

Result<std::vector<ByteRange>> CachefilesFile::PresentRanges() const {
  FLOE_ASSIGN_OR_RETURN(const auto fd, Fd());
  std::vector<ByteRange> ranges;
  uint64_t at = 0;
  for (;;) {
    FLOE_ASSIGN_OR_RETURN(const auto data, Seek(fd->get(), at, SEEK_DATA));
    if (!data || *data >= size_bytes_) {
      return ranges;
    }
    FLOE_ASSIGN_OR_RETURN(const auto hole, Seek(fd->get(), *data, SEEK_HOLE));
    at = std::min(hole.value_or(size_bytes_), size_bytes_);
    ranges.push_back({.offset = *data, .length = at - *data});
  }
}

Result<bool> CachefilesFile::HasHole(ByteRange range) const {
  FLOE_ASSIGN_OR_RETURN(const auto fd, Fd());
  FLOE_ASSIGN_OR_RETURN(const auto hole, Seek(fd->get(), range.offset, SEEK_HOLE));
  return !hole || *hole < std::min(range.end(), size_bytes_);
}

Result<void> CachefilesFile::CompleteRead(uint32_t message) const {
  FLOE_ASSIGN_OR_RETURN(const auto fd, Fd());
  if (::ioctl(fd->get(), CACHEFILES_IOC_READ_COMPLETE, static_cast<unsigned long>(message)) != 0) {
    return ErrnoError(errno, "complete a READ of cachefiles");
  }
  return Ok();
}

}  // namespace floe::cachemgr
