#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/byte_range.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace floe::erofs {

/// The bytes of an EROFS image, wherever they are. One thread at a time.
class ImageBytes {
 public:
  virtual ~ImageBytes() = default;
  [[nodiscard]] virtual uint64_t size_bytes() const = 0;
  /// Exactly the bytes of the range, which the caller keeps within size_bytes() and small: it is
  /// allocated. Errors are those of the medium.
  virtual Result<std::string> Read(ByteRange range) = 0;
};

/// An image in memory, which must outlive this.
class MemoryImage final : public ImageBytes {
 public:
  explicit MemoryImage(std::string_view bytes) : bytes_(bytes) {}
  [[nodiscard]] uint64_t size_bytes() const override { return bytes_.size(); }
  Result<std::string> Read(ByteRange range) override {
    return std::string(bytes_.substr(range.offset, range.length));
  }

 private:
  std::string_view bytes_;
};

/// An image that is written from its start to its end and read then: an unlinked file.
class SpooledImage final : public ImageBytes {
 public:
  /// A file without a name in `directory`, which must exist: it is gone with this, or with the
  /// process. ResourceExhausted, PermissionDenied, NotFound: what the directory says.
  static Result<SpooledImage> Create(const std::filesystem::path& directory);

  Result<void> Append(std::span<const std::byte> bytes);
  [[nodiscard]] uint64_t size_bytes() const override { return size_bytes_; }
  Result<std::string> Read(ByteRange range) override;

 private:
  explicit SpooledImage(UniqueFd file) : file_(std::move(file)) {}

  UniqueFd file_;
  uint64_t size_bytes_ = 0;
};

}  // namespace floe::erofs
