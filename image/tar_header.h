#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace floe::image {

inline constexpr size_t kTarBlockBytes = 512;
using TarBlock = std::span<const std::byte, kTarBlockBytes>;

/// One header block (POSIX.1-1988 ustar, v7, GNU and star variants) as it stands, before PAX
/// records and GNU long names are applied. Names are bytes. Numbers are signed, as base-256 fields
/// may be.
struct TarHeader {
  char type = 0;  ///< The type flag as it stands: '0', '\0', '1' ... 'x', 'L' ...
  std::string name;
  std::string link_name;
  int64_t size = 0;
  int64_t mode = 0;
  int64_t uid = 0, gid = 0;
  int64_t mtime_seconds = 0;
  int64_t dev_major = 0, dev_minor = 0;
};

bool IsZeroBlock(TarBlock block);

/// InvalidArgument: the checksum (of signed or unsigned bytes) or a number is wrong. Accepts what
/// Go's archive/tar accepts, which is what containerd unpacks with.
Result<TarHeader> ParseTarHeader(TarBlock block);

}  // namespace floe::image
