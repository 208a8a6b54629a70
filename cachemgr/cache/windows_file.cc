#include "cachemgr/cache/windows_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "base/file.h"

namespace floe::cachemgr {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPieceBytes = 1U << 20U;

// The source is somebody else's: a FIFO must not block.
Result<UniqueFd> OpenRegular(const fs::path& path, uint64_t size_bytes) {
  FLOE_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY | O_NONBLOCK));
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) {
    return ErrnoError(errno, path.native());
  }
  if (!S_ISREG(status.st_mode) || std::cmp_not_equal(status.st_size, size_bytes)) {
    return DataLoss("{}: not a file of {} bytes", path.native(), size_bytes);
  }
  return fd;
}

// Passes all bytes on in order and checks them.
Result<void> ReadChecked(
    int fd, const WindowsFile::Identity& identity,
    const std::function<Result<void>(std::span<const std::byte>, uint64_t)>& pass_on) {
  Sha256Hasher hasher;
  std::vector<std::byte> piece(std::min(kPieceBytes, identity.size_bytes));
  for (uint64_t at = 0; at < identity.size_bytes; at += piece.size()) {
    piece.resize(std::min<uint64_t>(piece.size(), identity.size_bytes - at));
    FLOE_RETURN_IF_ERROR(PreadAll(fd, piece, at));
    hasher.Update(piece);
    FLOE_RETURN_IF_ERROR(pass_on(piece, at));
  }
  if (const Digest digest = hasher.Finish(); digest != identity.digest) {
    return DataLoss("windows have digest {}, not {}", digest.ToString(),
                    identity.digest.ToString());
  }
  return Ok();
}

}  // namespace

Result<std::shared_ptr<WindowsFile>> WindowsFile::Open(const fs::path& path,
                                                       const Identity& identity) {
  FLOE_ASSIGN_OR_RETURN(UniqueFd fd, OpenRegular(path, identity.size_bytes));
  return std::shared_ptr<WindowsFile>(new WindowsFile(std::move(fd), identity, /*verified=*/false));
}

Result<std::shared_ptr<WindowsFile>> WindowsFile::Copy(const fs::path& source, const fs::path& path,
                                                       const Identity& identity) {
  auto from = OpenRegular(source, identity.size_bytes);
  if (!from) {
    return InvalidArgument("windows: {}", from.error().message);
  }
  const std::string temporary = path.native() + ".new";
  FLOE_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(temporary, O_RDWR | O_CREAT | O_TRUNC));
  Result<void> written = Ok();
  Result<void> copied = ReadChecked(from->get(), identity, [&](auto bytes, uint64_t at) {
    written = PwriteAll(fd.get(), bytes, at);
    return written;
  });
  if (copied && std::rename(temporary.c_str(), path.c_str()) != 0) {
    written = copied = ErrnoError(errno, path.native());
  }
  if (!copied) {
    (void)RemoveFile(temporary);
    return written ? InvalidArgument("{}: {}", source.native(), copied.error().message)
                   : copied.error();
  }
  return std::shared_ptr<WindowsFile>(new WindowsFile(std::move(fd), identity, /*verified=*/true));
}

Result<void> WindowsFile::Verify() {
  const MutexLock lock(mutex_);
  if (!verified_) {
    FLOE_RETURN_IF_ERROR(
        ReadChecked(fd_.get(), identity_, [](auto /*bytes*/, uint64_t /*at*/) { return Ok(); }));
    verified_ = true;
  }
  return Ok();
}

Result<std::string> WindowsFile::Read(ByteRange range) {
  if (range.empty()) {
    return std::string();
  }
  FLOE_RETURN_IF_ERROR(Verify());
  std::string bytes(range.length, '\0');
  FLOE_RETURN_IF_ERROR(PreadAll(fd_.get(), std::as_writable_bytes(std::span(bytes)), range.offset));
  return bytes;
}

void WindowsFile::Distrust() {
  const MutexLock lock(mutex_);
  verified_ = false;
}

uint64_t WindowsFile::DiskBytes() const {
  constexpr uint64_t kSectorBytes = 512;
  struct stat status{};
  return ::fstat(fd_.get(), &status) == 0 ? static_cast<uint64_t>(status.st_blocks) * kSectorBytes
                                          : 0;
}

}  // namespace floe::cachemgr
