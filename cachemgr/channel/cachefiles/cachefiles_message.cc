#include "cachemgr/channel/cachefiles/cachefiles_message.h"

#include <linux/cachefiles.h>

#include <cstring>
#include <limits>

namespace floe::cachemgr {
namespace {

// Moves the first bytes into `value`; false when there are not enough.
template <typename T>
bool Take(std::span<const std::byte>& bytes, T& value) {
  if (bytes.size() < sizeof(T)) {
    return false;
  }
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes = bytes.subspan(sizeof(T));
  return true;
}

std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

//   cachefiles_open | volume key, NUL | cookie key
Result<CachefilesOpen> ParseOpen(std::span<const std::byte> payload) {
  cachefiles_open open{};
  if (!Take(payload, open) || open.volume_key_size == 0 || open.volume_key_size > payload.size() ||
      open.cookie_key_size != payload.size() - open.volume_key_size ||
      open.fd > static_cast<uint32_t>(std::numeric_limits<int>::max())) {
    return DataLoss("cachefiles: OPEN with wrong lengths");
  }
  const std::string volume = Text(payload.first(open.volume_key_size));
  if (volume.find('\0') != volume.size() - 1) {
    return DataLoss("cachefiles: OPEN whose volume key is no string");
  }
  return CachefilesOpen{.volume_key = volume.substr(0, volume.size() - 1),
                        .cookie_key = Text(payload.subspan(open.volume_key_size)),
                        .fd = static_cast<int>(open.fd)};
}

Result<CachefilesRead> ParseRead(std::span<const std::byte> payload) {
  cachefiles_read read{};
  if (!Take(payload, read) || !payload.empty()) {
    return DataLoss("cachefiles: READ with a wrong length");
  }
  if (read.len == 0 || read.off > std::numeric_limits<uint64_t>::max() - read.len) {
    return DataLoss("cachefiles: READ of {} bytes at {}", read.len, read.off);
  }
  return CachefilesRead{{.offset = read.off, .length = read.len}};
}

}  // namespace

Result<CachefilesMessage> ParseCachefilesMessage(std::span<const std::byte> bytes) {
  const size_t size = bytes.size();
  cachefiles_msg header{};
  if (!Take(bytes, header) || header.len != size) {
    return DataLoss("cachefiles: a message of {} bytes with a wrong header", size);
  }
  CachefilesMessage message{.id = header.msg_id, .object = header.object_id, .body = {}};
  switch (header.opcode) {
    case CACHEFILES_OP_OPEN: {
      FLOE_ASSIGN_OR_RETURN(message.body, ParseOpen(bytes));
      return message;
    }
    case CACHEFILES_OP_CLOSE:
      message.body = CachefilesClose{};
      return message;
    case CACHEFILES_OP_READ: {
      FLOE_ASSIGN_OR_RETURN(message.body, ParseRead(bytes));
      return message;
    }
    default:
      return DataLoss("cachefiles: opcode {}", header.opcode);
  }
}

}  // namespace floe::cachemgr
