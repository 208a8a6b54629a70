#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "cachemgr/keeper/keeper_protocol.h"

namespace floe::cachemgr {

/// The cache manager's line to its keeper (floe-keeper). Thread-safe.
class KeeperClient {
 public:
  struct Options {
    std::filesystem::path address;  ///< The keeper's socket.
    std::filesystem::path program =
        {};  ///< Started where nobody answers; empty: nothing is started.
  };
  /// Unavailable: nobody answers, and none could be started.
  static Result<std::unique_ptr<KeeperClient>> Connect(Options options);

  /// A copy of what is held under the name. NotFound: nothing.
  Result<UniqueFd> Find(const std::string& name);
  /// Copies of all that is held.
  Result<std::map<std::string, UniqueFd>> All();
  /// The keeper holds a copy from now on, until Release: also after a keeper was lost, because this
  /// keeps one as well.
  Result<void> Keep(const std::string& name, int fd);
  void Release(const std::string& name);
  /// Asks whether the keeper is there; if not, starts or finds another and gives it everything
  /// again. An error: there is none. Called every now and then.
  Result<void> Check();

  /// For the start of a process (FanotifyJournal): gives the line itself a descriptor number of at
  /// least `lowest`.
  Result<void> MoveAbove(int lowest);

 private:
  explicit KeeperClient(Options options) : options_(std::move(options)) {}
  Result<void> ConnectLocked() FLOE_REQUIRES(mutex_);
  Result<KeeperPacket> Ask(KeeperRequest request, const std::string& name, uint32_t index, int fd)
      FLOE_REQUIRES(mutex_);

  const Options options_;
  Mutex mutex_;
  UniqueFd socket_ FLOE_GUARDED_BY(mutex_);
  std::map<std::string, UniqueFd> kept_ FLOE_GUARDED_BY(mutex_);
};

}  // namespace floe::cachemgr
