#include "prepare/temporary_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <span>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/file.h"

namespace floe::prepare {

Result<TemporaryFile> TemporaryFile::Create(const std::filesystem::path& directory) {
  std::string path = (directory / "floe.XXXXXX").native();
  TemporaryFile file;
  file.file_ = UniqueFd(::mkostemp(path.data(), O_CLOEXEC));
  if (!file.file_.valid()) {
    return ErrnoError(errno, "a temporary file in " + directory.native());
  }
  if (::unlink(path.c_str()) != 0) {
    return ErrnoError(errno, "unlink " + path);
  }
  return file;
}

TemporaryFile::~TemporaryFile() {
  if (mapping_ != nullptr) {
    ::munmap(mapping_, size_);
  }
}

TemporaryFile::TemporaryFile(TemporaryFile&& other) noexcept { Swap(other); }
TemporaryFile& TemporaryFile::operator=(TemporaryFile&& other) noexcept {
  TemporaryFile taken(std::move(other));
  Swap(taken);
  return *this;
}

void TemporaryFile::Swap(TemporaryFile& other) {
  std::swap(file_, other.file_);
  std::swap(size_, other.size_);
  std::swap(mapping_, other.mapping_);
}

Result<void> TemporaryFile::Append(std::string_view bytes) {
  FLOE_CHECK(mapping_ == nullptr);
  FLOE_RETURN_IF_ERROR(PwriteAll(file_.get(), std::as_bytes(std::span(bytes)), size_));
  size_ += bytes.size();
  return Ok();
}

Result<std::string_view> TemporaryFile::Map() {
  if (size_ == 0) {
    return std::string_view();
  }
  if (mapping_ == nullptr) {
    void* mapping = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file_.get(), 0);
    if (mapping == MAP_FAILED) {
      return ErrnoError(errno, "mmap of a temporary file");
    }
    mapping_ = mapping;
  }
  return std::string_view(static_cast<const char*>(mapping_), size_);
}

}  // namespace floe::prepare
