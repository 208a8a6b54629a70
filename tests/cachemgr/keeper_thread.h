#pragma once

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/unix_socket.h"
#include "cachemgr/keeper/keeper.h"

namespace floe::cachemgr::testing {

/// A keeper on a thread of the test.
class KeeperThread {
 public:
  explicit KeeperThread(const std::filesystem::path& address, bool while_needed = false,
                        size_t capacity = Keeper::kCapacity)
      : end_(::eventfd(0, EFD_CLOEXEC)) {
    auto listener = ListenOnUnixSocket(address, SOCK_SEQPACKET);
    FLOE_CHECK(listener.has_value());
    keeper_ = std::make_unique<Keeper>(
        std::move(*listener), UniqueFd(::dup(end_.get())),
        Keeper::Options{.uid = ::geteuid(), .while_needed = while_needed, .capacity = capacity});
    thread_ = std::jthread([this] { keeper_->Run(); });
  }
  /// What a signal does.
  void AskToEnd() {
    const uint64_t one = 1;
    FLOE_CHECK(::write(end_.get(), &one, sizeof(one)) == sizeof(one));
  }
  /// Waits until it has ended by itself.
  void Join() { thread_.join(); }
  ~KeeperThread() {
    if (thread_.joinable()) {
      AskToEnd();
    }
  }
  KeeperThread(const KeeperThread&) = delete;
  KeeperThread& operator=(const KeeperThread&) = delete;

 private:
  UniqueFd end_;
  std::unique_ptr<Keeper> keeper_;
  std::jthread thread_;
};

}  // namespace floe::cachemgr::testing
