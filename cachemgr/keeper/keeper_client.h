#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
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
    /// Started where nobody answers; empty: nothing is started.
    std::filesystem::path program = {};
    /// In front of all names: a keeper may serve the cache managers of several roots.
    std::string space = {};
  };
  /// NotFound: nobody answers, and none could be started. Unavailable: one is there, but does not
  /// answer.
  static Result<std::unique_ptr<KeeperClient>> Connect(Options options);

  /// A copy of what is held under the name. NotFound: nothing.
  Result<UniqueFd> Find(const std::string& name);
  /// Copies of all that is held; from now on as if this had called Keep for each.
  Result<std::map<std::string, UniqueFd>> All();
  /// The keeper holds a copy from now on, until Release: also after a keeper was lost, because this
  /// keeps one as well.
  Result<void> Keep(const std::string& name, int fd);
  void Release(const std::string& name);
  /// Asks whether the keeper is there; if not, starts or finds another and gives it everything
  /// again. An error: there is none. Called every now and then.
  Result<void> Check();

  /// For the start of a process (FanotifyJournal::CopyAside): has the line itself use the copy that
  /// `copy` makes of its descriptor.
  Result<void> Move(const std::function<Result<UniqueFd>(int)>& copy);

 private:
  explicit KeeperClient(Options options) : options_(std::move(options)) {}
  Result<void> ConnectLocked() FLOE_REQUIRES(mutex_);
  /// Copies, by name; empty: the keeper's entries changed meanwhile.
  Result<std::optional<std::map<std::string, UniqueFd>>> TryAll() FLOE_REQUIRES(mutex_);
  Result<KeeperPacket> Ask(KeeperRequest request, const std::string& name, uint32_t index, int fd)
      FLOE_REQUIRES(mutex_);

  const Options options_;
  Mutex mutex_;
  UniqueFd socket_ FLOE_GUARDED_BY(mutex_);
  std::map<std::string, UniqueFd> kept_ FLOE_GUARDED_BY(mutex_);
  bool has_all_ FLOE_GUARDED_BY(mutex_) = true;  ///< The keeper, of kept_.
};

}  // namespace floe::cachemgr
