#include "erofs/image_bytes.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "base/file.h"

namespace floe::erofs {
namespace {

// For file systems that cannot make a file without a name: it has one for a moment.
Result<UniqueFd> CreateUnlinked(const std::filesystem::path& directory) {
  std::string name = (directory / "floe-spool.XXXXXX").native();
  UniqueFd file(::mkostemp(name.data(), O_CLOEXEC));
  if (!file.valid()) {
    return ErrnoError(errno, "cannot create " + name);
  }
  if (::unlink(name.c_str()) != 0) {
    return ErrnoError(errno, "cannot unlink " + name);
  }
  return file;
}

}  // namespace

Result<SpooledImage> SpooledImage::Create(const std::filesystem::path& directory) {
  auto file = OpenFile(directory, O_TMPFILE | O_RDWR);
  if (!file && (file.error().os_errno == EOPNOTSUPP || file.error().os_errno == EISDIR)) {
    file = CreateUnlinked(directory);
  }
  if (!file) {
    return std::move(file).error();
  }
  return SpooledImage(std::move(file).value());
}

Result<void> SpooledImage::Append(std::span<const std::byte> bytes) {
  FLOE_RETURN_IF_ERROR(PwriteAll(file_.get(), bytes, size_bytes_));
  size_bytes_ += bytes.size();
  return Ok();
}

Result<std::string> SpooledImage::Read(ByteRange range) {
  std::string bytes(range.length, '\0');
  FLOE_RETURN_IF_ERROR(
      PreadAll(file_.get(), std::as_writable_bytes(std::span(bytes)), range.offset));
  return bytes;
}

}  // namespace floe::erofs
