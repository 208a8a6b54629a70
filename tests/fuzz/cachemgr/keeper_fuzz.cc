// A keeper on a thread and packets of every kind from its clients: each is answered as a model of
// the keeper says, or ends its connection, and no descriptor is left over.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "cachemgr/keeper/keeper.h"
#include "tests/fuzz/input.h"

namespace floe::cachemgr {
namespace {

constexpr size_t kCapacity = 6;
constexpr size_t kNames = 8;
constexpr size_t kLines = 20;  // More than the keeper takes.
constexpr size_t kMaxBeside = 4;

ino_t InodeOf(int fd) {
  struct stat status{};
  FLOE_CHECK(::fstat(fd, &status) == 0);
  return status.st_ino;
}

size_t OpenDescriptors() {
  std::array<pollfd, 256> polled{};
  for (size_t i = 0; i < polled.size(); ++i) {
    polled[i].fd = static_cast<int>(i);
  }
  FLOE_CHECK(::poll(polled.data(), polled.size(), 0) >= 0);
  return static_cast<size_t>(std::ranges::count_if(
      polled, [](const pollfd& one) { return (one.revents & POLLNVAL) == 0; }));
}

/// The keeper lives as long as the process; what an input leaves in it is released.
class Service {
 public:
  Service() {
    UniqueFd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    address_.sun_family = AF_UNIX;
    // No path: the kernel chooses an abstract name.
    FLOE_CHECK(::bind(listener.get(), Address(), sizeof(sa_family_t)) == 0);
    address_length_ = sizeof(address_);
    FLOE_CHECK(::getsockname(listener.get(), Address(), &address_length_) == 0);
    FLOE_CHECK(::listen(listener.get(), kLines) == 0);
    std::thread([listener = std::move(listener)]() mutable {
      const auto keeper =
          std::make_unique<Keeper>(std::move(listener), UniqueFd(::eventfd(0, EFD_CLOEXEC)),
                                   Keeper::Options{.uid = ::geteuid(), .capacity = kCapacity});
      keeper->Run();
    }).detach();
    for (UniqueFd& fd : beside_) {
      fd = UniqueFd(::memfd_create("beside", MFD_CLOEXEC));
    }
  }

  [[nodiscard]] UniqueFd Connect() const {
    UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    const timeval patience{.tv_sec = 10, .tv_usec = 0};
    FLOE_CHECK(::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ==
               0);
    FLOE_CHECK(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address_),
                         address_length_) == 0);
    return socket;
  }
  [[nodiscard]] int beside(size_t number) const { return beside_[number].get(); }

 private:
  sockaddr* Address() { return reinterpret_cast<sockaddr*>(&address_); }

  sockaddr_un address_{};
  socklen_t address_length_ = 0;
  std::array<UniqueFd, kMaxBeside> beside_;
};

const Service& TheService() {
  static const Service& service = *new Service;
  return service;
}

/// Bytes with descriptors beside them: number `first` of the service's and those after it.
struct Packet {
  std::string bytes;
  size_t first = 0;
  size_t count = 0;
};

bool Send(int socket, const Packet& packet, int flags) {
  std::array<int, kMaxBeside> fds{};
  for (size_t i = 0; i < packet.count; ++i) {
    fds[i] = TheService().beside((packet.first + i) % kMaxBeside);
  }
  std::string bytes = packet.bytes;
  iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(fds))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (packet.count > 0) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(packet.count * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(packet.count * sizeof(int));
    std::memcpy(CMSG_DATA(rights), fds.data(), packet.count * sizeof(int));
  }
  return ::sendmsg(socket, &header, flags | MSG_NOSIGNAL) >= 0;
}

class Session {
 public:
  Session() { FLOE_CHECK(Connect(0)); }

  void Run(testing::FuzzInput& input) {
    while (!input.empty()) {
      const size_t line = 1 + input.Below(kLines - 1);
      switch (input.Below(8)) {
        case 0:
          Close(line);
          break;
        case 1:
          Burst(line, input.Below(64));
          break;
        default:
          if (Connect(line)) {
            Ask(line, MakePacket(input));
          }
      }
    }
    for (size_t line = 1; line < kLines; ++line) {
      Close(line);
    }
    CheckAllHeld();
    ReleaseAll();
    Close(0);
  }

 private:
  /// False: the keeper has as many as it takes.
  bool Connect(size_t line) {
    if (lines_[line].valid()) {
      return true;
    }
    const bool taken = Connected() < Keeper::kConnections;
    lines_[line] = TheService().Connect();
    if (taken) {
      Ask(line, Request(KeeperRequest::kHello));
    } else {
      ExpectEnd(line);
    }
    return taken;
  }
  [[nodiscard]] size_t Connected() const {
    return static_cast<size_t>(std::ranges::count_if(lines_, &UniqueFd::valid));
  }
  void Close(size_t line) {
    if (lines_[line].valid()) {
      FLOE_CHECK(::shutdown(lines_[line].get(), SHUT_WR) == 0);
      ExpectEnd(line);
    }
  }
  void ExpectEnd(size_t line) {
    FLOE_CHECK(!ReceiveKeeperPacket(lines_[line].get(), 0).has_value() && errno == ECONNRESET);
    lines_[line].Reset();
  }

  static Packet Request(KeeperRequest request, std::string_view name = {}, uint32_t index = 0) {
    KeeperMessage message{.request = static_cast<uint32_t>(request), .index = index};
    (void)message.set_name(name);
    return {.bytes = std::string(reinterpret_cast<const char*>(&message), sizeof(message))};
  }
  static Packet MakePacket(testing::FuzzInput& input) {
    Packet packet;
    const size_t kind = input.Below(8);
    packet.first = input.Below(kMaxBeside);
    packet.count = input.Below(kMaxBeside + 1);
    if (kind == 0) {
      packet.bytes = input.Bytes(input.Below(256));
      return packet;
    }
    const auto request = static_cast<KeeperRequest>(input.Below(7));
    const size_t number = input.Below(kNames + 1);
    const std::string name =
        number == kNames ? input.Bytes(input.Below(150)) : std::string(number + 1, 'n');
    packet.bytes = Request(request, name, static_cast<uint32_t>(input.Below(kCapacity + 2))).bytes;
    if (request == KeeperRequest::kKeep && kind > 2) {
      packet.count = 1;
    }
    if (kind == 1) {
      packet.bytes.replace(input.Below(packet.bytes.size()), 1 + input.Below(8),
                           input.Bytes(input.Below(8)));
    }
    return packet;
  }

  /// What a packet must lead to; empty: the end of the connection.
  std::optional<int> Expected(const Packet& packet, KeeperMessage& asked) {
    constexpr size_t kRoom =
        2;  // Descriptors that the keeper has room for, one of them in padding.
    if (packet.bytes.size() != sizeof(asked) || packet.count > kRoom) {
      return std::nullopt;
    }
    std::memcpy(&asked, packet.bytes.data(), sizeof(asked));
    if (asked.version != kKeeperVersion || asked.name_z.back() != '\0') {
      return std::nullopt;
    }
    const std::string name(asked.name());
    switch (static_cast<KeeperRequest>(asked.request)) {
      case KeeperRequest::kHello:
        return 0;
      case KeeperRequest::kKeep:
        if (name.empty() || packet.count == 0) {
          return EINVAL;
        }
        if (!held_.contains(name) && held_.size() == kCapacity) {
          return ENOSPC;
        }
        held_[name] = InodeOf(TheService().beside(packet.first));
        ++changes_;
        return 0;
      case KeeperRequest::kRelease:
        changes_ += static_cast<uint32_t>(held_.erase(name));
        return 0;
      case KeeperRequest::kFind:
        return held_.contains(name) ? 0 : ENOENT;
      case KeeperRequest::kAt:
        return asked.index < held_.size() ? 0 : ENOENT;
    }
    return ENOSYS;
  }

  /// The answer's name, when a descriptor came with it.
  std::string Ask(size_t line, const Packet& packet) {
    KeeperMessage asked;
    const std::optional<int> error = Expected(packet, asked);
    FLOE_CHECK(Send(lines_[line].get(), packet, 0));
    if (!error) {
      ExpectEnd(line);
      return {};
    }
    const auto answer = ReceiveKeeperPacket(lines_[line].get(), 0);
    FLOE_CHECK(answer.has_value());
    FLOE_CHECK(answer->message.error == *error && answer->message.request == asked.request);
    CheckChanges(answer->message.changes);
    const auto request = static_cast<KeeperRequest>(asked.request);
    const bool gives = request == KeeperRequest::kFind || request == KeeperRequest::kAt;
    FLOE_CHECK(answer->fd.valid() == (gives && *error == 0));
    if (!answer->fd.valid()) {
      return {};
    }
    const std::string name(answer->message.name());
    FLOE_CHECK(request == KeeperRequest::kAt || name == asked.name());
    const auto held = held_.find(name);
    FLOE_CHECK(held != held_.end() && InodeOf(answer->fd.get()) == held->second);
    return name;
  }
  void CheckChanges(uint32_t changes) {
    if (!first_changes_) {
      first_changes_ = changes;  // What earlier inputs did.
    }
    FLOE_CHECK(changes - *first_changes_ == changes_);
  }

  /// Many questions before the first answer is read: answered in order until the keeper, which
  /// waits for nobody, gives the client up.
  void Burst(size_t line, size_t count) {
    if (!Connect(line)) {
      return;
    }
    const Packet hello = Request(KeeperRequest::kHello);
    size_t sent = 0;
    while (sent < count && Send(lines_[line].get(), hello, MSG_DONTWAIT)) {
      ++sent;
    }
    for (size_t i = 0; i < sent; ++i) {
      if (!ReceiveKeeperPacket(lines_[line].get(), 0)) {
        FLOE_CHECK(errno == ECONNRESET);
        lines_[line].Reset();
        return;
      }
    }
    // It may have been given up after the last answer.
    if (!Send(lines_[line].get(), hello, 0) || !ReceiveKeeperPacket(lines_[line].get(), 0)) {
      lines_[line].Reset();
    }
  }

  void CheckAllHeld() {
    std::set<std::string> names;
    for (uint32_t index = 0; index < held_.size(); ++index) {
      FLOE_CHECK(names.insert(Ask(0, Request(KeeperRequest::kAt, {}, index))).second);
    }
    Ask(0, Request(KeeperRequest::kAt, {}, static_cast<uint32_t>(held_.size())));
  }
  void ReleaseAll() {
    while (!held_.empty()) {
      const std::string name = held_.begin()->first;
      Ask(0, Request(KeeperRequest::kRelease, name));
    }
  }

  std::array<UniqueFd, kLines> lines_;
  std::map<std::string, ino_t> held_;
  uint32_t changes_ = 0;
  std::optional<uint32_t> first_changes_;
};

}  // namespace
}  // namespace floe::cachemgr

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace floe::cachemgr;  // NOLINT(google-build-using-namespace): an extern "C" function.
  // The first session also waits until the keeper listens.
  static const size_t kOpenBefore = [] {
    floe::testing::FuzzInput nothing(nullptr, 0);
    Session().Run(nothing);
    return OpenDescriptors();
  }();
  floe::testing::FuzzInput input(data, size);
  Session().Run(input);
  FLOE_CHECK(OpenDescriptors() == kOpenBefore);
  return 0;
}
