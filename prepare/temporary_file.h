#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace floe::prepare {

/// A file without a name: written once, from front to back, then mapped. It vanishes with this
/// object, or with the process. One thread at a time.
class TemporaryFile {
 public:
  /// In `directory`, which must exist.
  static Result<TemporaryFile> Create(const std::filesystem::path& directory);
  TemporaryFile() = default;
  ~TemporaryFile();
  TemporaryFile(TemporaryFile&& other) noexcept;
  TemporaryFile& operator=(TemporaryFile&& other) noexcept;
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  Result<void> Append(std::string_view bytes);
  /// All of it; valid as long as this object. Nothing may be appended afterwards.
  Result<std::string_view> Map();

 private:
  void Swap(TemporaryFile& other);

  UniqueFd file_;
  uint64_t size_ = 0;
  void* mapping_ = nullptr;
};

}  // namespace floe::prepare
