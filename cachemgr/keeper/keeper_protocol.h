#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>

#include "base/result.h"
#include "base/unique_fd.h"

/// What floe-keeper and the cache manager say to each other, on a Unix socket of type
/// SOCK_SEQPACKET: the manager asks with one packet and gets one back; descriptors travel beside it
/// (SCM_RIGHTS). Nothing here allocates.
namespace floe::cachemgr {

inline constexpr uint32_t kKeeperVersion = 1;

enum class KeeperRequest : uint32_t {
  kHello = 1,    ///< Is somebody there?
  kKeep = 2,     ///< Holds the descriptor beside it under `name`, in place of what had it.
  kRelease = 3,  ///< Closes what has `name`; nothing is fine.
  kFind = 4,     ///< Answers a copy of what has `name`.
  kAt = 5,       ///< Answers name and copy of number `index`, in no order; ENOENT past the end.
};

/// A request, and its answer.
struct KeeperMessage {
  uint32_t version = kKeeperVersion;
  uint32_t request = 0;
  uint32_t index = 0;
  uint32_t changes = 0;               ///< Answers: how often anything was kept or released so far.
  int32_t error = 0;                  ///< Answers: an errno, or 0.
  std::array<char, 140> name_z = {};  ///< Ends with NUL.

  [[nodiscard]] std::string_view name() const;
  /// False when it is empty or too long.
  bool set_name(std::string_view name);
};
static_assert(sizeof(KeeperMessage) == 160 && std::is_trivially_copyable_v<KeeperMessage>);

struct KeeperPacket {
  KeeperMessage message = {};
  UniqueFd fd = {};  ///< The descriptor beside it, close-on-exec; invalid when there was none.
};

/// One packet; `fd` -1: none beside it. `flags` as for sendmsg(2). False: errno says why.
bool SendKeeperPacket(int socket, const KeeperMessage& message, int fd, int flags);
/// Empty: the other end has closed, or errno says what failed. A packet that is no message of this
/// version (EPROTO), or that lost a descriptor (EMFILE), is a failure.
std::optional<KeeperPacket> ReceiveKeeperPacket(int socket, int flags);

}  // namespace floe::cachemgr
