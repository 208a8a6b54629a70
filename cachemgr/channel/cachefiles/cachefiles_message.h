#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>

#include "base/byte_range.h"
#include "base/result.h"

/// What the kernel says on /dev/cachefiles in on-demand mode (include/uapi/linux/cachefiles.h,
/// fs/cachefiles/ondemand.c). Pure functions over bytes.
namespace floe::cachemgr {

/// The kernel opens a cookie, again after every re-open; wants `copen`.
struct CachefilesOpen {
  std::string volume_key;  ///< EROFS: "erofs,<domain_id>", without the NUL.
  std::string cookie_key;  ///< EROFS: the fsid, or the device's tag.
  int fd = -1;  ///< Installed into the process that read the message: the anonymous descriptor.
};
/// A cookie was withdrawn; wants no answer.
struct CachefilesClose {};
/// The cache file has a hole here and a reader waits; wants READ_COMPLETE.
struct CachefilesRead {
  ByteRange range;
};

struct CachefilesMessage {
  uint32_t id = 0;
  uint32_t object = 0;  ///< New for every OPEN.
  std::variant<CachefilesOpen, CachefilesClose, CachefilesRead> body;
};

/// DataLoss: not a message of this protocol.
Result<CachefilesMessage> ParseCachefilesMessage(std::span<const std::byte> bytes);

}  // namespace floe::cachemgr
