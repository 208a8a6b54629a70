#include "cachemgr/keeper/keeper.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

namespace floe::cachemgr {

Keeper::Keeper(UniqueFd listener, UniqueFd signals, const Options& options)
    : options_(options), listener_(std::move(listener)), signals_(std::move(signals)) {}

Keeper::~Keeper() {
  while (held_ > 0) {
    Release(held_ - 1);
  }
}

bool Keeper::MayEnd() const {
  if (held_ > 0) {
    return false;
  }
  const bool connected = std::ranges::any_of(connections_, &UniqueFd::valid);
  return asked_to_end_ || (options_.while_needed && was_connected_ && !connected);
}

void Keeper::Run() {
  std::array<pollfd, kConnections + 2> polled{};
  while (!MayEnd()) {
    polled[0] = {.fd = listener_.get(), .events = POLLIN, .revents = 0};
    polled[1] = {.fd = signals_.get(), .events = POLLIN, .revents = 0};
    for (size_t i = 0; i < kConnections; ++i) {
      polled[i + 2] = {.fd = connections_[i].get(), .events = POLLIN, .revents = 0};
    }
    if (::poll(polled.data(), polled.size(), -1) < 0) {
      continue;
    }
    for (size_t i = 0; i < kConnections; ++i) {
      if (polled[i + 2].revents != 0 && !Serve(polled[i + 2].fd)) {
        connections_[i].Reset();
      }
    }
    if (polled[1].revents != 0) {
      signalfd_siginfo signal{};
      (void)::read(signals_.get(), &signal, sizeof(signal));
      asked_to_end_ = true;
      if (held_ > 0) {
        std::fprintf(stderr, "floe-keeper: signal %u: stays while it holds %zu descriptors\n",
                     signal.ssi_signo, held_);
      }
    }
    if (polled[0].revents != 0) {
      Accept();
    }
  }
}

void Keeper::Accept() {
  UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!connection.valid()) {
    return;
  }
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (::getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 ||
      peer.uid != options_.uid) {
    std::fprintf(stderr, "floe-keeper: peer of uid %u refused\n", peer.uid);
    return;
  }
  const auto free = std::ranges::find_if_not(connections_, &UniqueFd::valid);
  if (free == connections_.end()) {
    return;
  }
  *free = std::move(connection);
  was_connected_ = true;
}

bool Keeper::Serve(int connection) {
  auto asked = ReceiveKeeperPacket(connection, MSG_DONTWAIT);
  if (!asked) {
    return errno == EAGAIN;
  }
  KeeperMessage answer = asked->message;
  int fd = -1;
  answer.error = Answer(*asked, answer, fd);
  answer.changes = changes_;
  return SendKeeperPacket(connection, answer, fd, MSG_DONTWAIT);
}

int Keeper::Answer(KeeperPacket& asked, KeeperMessage& answer, int& fd) {
  const std::string_view name = asked.message.name();
  switch (static_cast<KeeperRequest>(asked.message.request)) {
    case KeeperRequest::kHello:
      return 0;
    case KeeperRequest::kKeep:
      return Keep(name, std::move(asked.fd));
    case KeeperRequest::kRelease:
      if (const size_t index = Find(name); index < held_) {
        Release(index);
      }
      return 0;
    case KeeperRequest::kFind: {
      const size_t index = Find(name);
      fd = index < held_ ? entries_[index].fd : -1;
      return fd >= 0 ? 0 : ENOENT;
    }
    case KeeperRequest::kAt: {
      if (asked.message.index >= held_) {
        return ENOENT;
      }
      answer.name_z = entries_[asked.message.index].name_z;
      fd = entries_[asked.message.index].fd;
      return 0;
    }
  }
  return ENOSYS;
}

int Keeper::Keep(std::string_view name, UniqueFd fd) {
  if (name.empty() || !fd.valid()) {
    return EINVAL;
  }
  const size_t index = Find(name);
  if (index == std::min(options_.capacity, kCapacity)) {
    return ENOSPC;
  }
  Entry& entry = entries_[index];
  if (index == held_) {
    ++held_;
    entry.name_z.fill('\0');
    std::ranges::copy(name, entry.name_z.begin());
  } else {
    ::close(entry.fd);
  }
  entry.fd = fd.Release();
  ++changes_;
  return 0;
}

size_t Keeper::Find(std::string_view name) const {
  size_t index = 0;
  while (index < held_ && entries_[index].name() != name) {
    ++index;
  }
  return index;
}

void Keeper::Release(size_t index) {
  ::close(entries_[index].fd);
  --held_;
  ++changes_;
  entries_[index] = entries_[held_];
}

}  // namespace floe::cachemgr
