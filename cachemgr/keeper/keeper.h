#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <string_view>

#include "base/unique_fd.h"
#include "cachemgr/keeper/keeper_protocol.h"

namespace floe::cachemgr {

/// Holds descriptors under names, for cache managers that come and go: what they need to take over
/// from a dead one. Knows nothing of what it holds. One thread; nothing is allocated after the
/// constructor. Serves peers of `uid` alone (SO_PEERCRED).
class Keeper {
 public:
  static constexpr size_t kCapacity = 16384;
  static constexpr size_t kConnections = 16;

  struct Options {
    uid_t uid = 0;
    /// Ends as soon as nothing is held and nobody is connected, once somebody was.
    bool while_needed = false;
    /// Descriptors held at most: what the process may open, but for its connections.
    size_t capacity = kCapacity;
  };
  /// `listener`: a listening SOCK_SEQPACKET socket. `signals`: a signalfd of those that ask for the
  /// end.
  Keeper(UniqueFd listener, UniqueFd signals, const Options& options);
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  /// Serves until a signal asks for the end and nothing is held, or as `while_needed` says. With
  /// descriptors held it does not end: reads of a lazy image would find holes, or fail.
  void Run();

  [[nodiscard]] size_t held() const { return held_; }

 private:
  struct Entry {
    std::array<char, sizeof(KeeperMessage::name_z)> name_z = {};
    int fd = -1;
    [[nodiscard]] std::string_view name() const { return {name_z.data()}; }
  };

  [[nodiscard]] bool MayEnd() const;
  void Accept();
  /// False: the connection is to be closed.
  bool Serve(int connection);
  int Answer(KeeperPacket& asked, KeeperMessage& answer, int& fd);
  int Keep(std::string_view name, UniqueFd fd);
  [[nodiscard]] size_t Find(std::string_view name) const;
  void Release(size_t index);

  const Options options_;
  const UniqueFd listener_;
  const UniqueFd signals_;
  std::array<UniqueFd, kConnections> connections_ = {};
  bool was_connected_ = false;
  bool asked_to_end_ = false;
  size_t held_ = 0;
  uint32_t changes_ = 0;
  std::array<Entry, kCapacity> entries_ = {};  ///< The first `held_` of them.
};

}  // namespace floe::cachemgr
