#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_range.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace floe {

/// open(2) with O_CLOEXEC added. Errors name the path.
Result<UniqueFd> OpenFile(const std::filesystem::path& path, int flags, mode_t mode = 0600);
/// The whole file; ResourceExhausted when it is larger than `limit_bytes`.
Result<std::string> ReadFile(const std::filesystem::path& path, uint64_t limit_bytes = 64U << 20U);
/// All bytes of the range, over short reads and EINTR; OutOfRange at the end of the file.
Result<void> PreadAll(int fd, std::span<std::byte> into, uint64_t offset);
/// All bytes, over short writes and EINTR.
Result<void> PwriteAll(int fd, std::span<const std::byte> bytes, uint64_t offset);
/// Writes `path` so that it holds all of `bytes` or what it held before: temporary file in the same
/// directory, fsync, rename, fsync of the directory.
Result<void> WriteFileAtomically(const std::filesystem::path& path, std::string_view bytes,
                                 mode_t mode = 0600);
/// mkdir -p; existing directories are fine.
Result<void> CreateDirectories(const std::filesystem::path& path, mode_t mode = 0700);
/// The names in a directory, without "." and "..", in no order.
Result<std::vector<std::string>> ListDirectory(const std::filesystem::path& directory);
/// rm -rf that never leaves the file system it starts on; a missing path is fine.
Result<void> RemoveTree(const std::filesystem::path& path);
Result<void> RemoveFile(const std::filesystem::path& path);
/// fsync of a directory, so that a rename in it survives a power cut.
Result<void> SyncDirectory(const std::filesystem::path& path);

}  // namespace floe
