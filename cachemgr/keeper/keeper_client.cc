#include "cachemgr/keeper/keeper_client.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/unix_socket.h"

namespace floe::cachemgr {
namespace {

// It answers from memory; one that does not is stopped or gone.
constexpr std::chrono::seconds kPatience{5};

// Returns once it listens. Its children, if the manager dies now, are nobody's.
Result<void> StartKeeper(const std::string& program, const std::string& address) {
  std::vector<std::string> words = {program, "--address", address, "--detach", "--while-needed"};
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) {
    arguments.push_back(word.data());
  }
  arguments.push_back(nullptr);
  pid_t child = 0;
  if (const int error =
          ::posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments.data(), environ);
      error != 0) {
    return NotFound("{}", ErrnoError(error, fmt::format("start {}", program)).message);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) {
      return ErrnoError(errno, fmt::format("wait for {}", program));
    }
  }
  if (status != 0) {
    return NotFound("{} ended with status {}", program, status);
  }
  LogInfo("keeper started program={} address={}", program, address);
  return Ok();
}

}  // namespace

Result<std::unique_ptr<KeeperClient>> KeeperClient::Connect(Options options) {
  std::unique_ptr<KeeperClient> client(new KeeperClient(std::move(options)));
  const MutexLock lock(client->mutex_);
  FLOE_RETURN_IF_ERROR(client->ConnectLocked());
  return client;
}

Result<void> KeeperClient::ConnectLocked() {
  // A keeper that is not needed any more may end between our connection and its answer.
  constexpr int kAttempts = 3;
  Result<void> outcome = Ok();
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    auto socket = ConnectToUnixSocket(options_.address, SOCK_SEQPACKET, kPatience);
    if (!socket && socket.error().code == ErrorCode::kNotFound && !options_.program.empty()) {
      FLOE_RETURN_IF_ERROR(StartKeeper(options_.program, options_.address));
      socket = ConnectToUnixSocket(options_.address, SOCK_SEQPACKET, kPatience);
    }
    if (!socket) {
      return socket.error().code == ErrorCode::kNotFound
                 ? NotFound("keeper: {}", socket.error().message)
                 : Unavailable("keeper: {}", socket.error().message);
    }
    socket_ = std::move(*socket);
    const auto answered = Ask(KeeperRequest::kHello, "", 0, -1);
    if (answered) {
      return Ok();
    }
    outcome = answered.error();
  }
  return outcome;
}

Result<KeeperPacket> KeeperClient::Ask(KeeperRequest request, const std::string& name,
                                       uint32_t index, int fd) {
  KeeperMessage message{.request = static_cast<uint32_t>(request), .index = index};
  if (!name.empty() && !message.set_name(options_.space + name)) {
    return InvalidArgument("keeper: the name {} is too long", name);
  }
  if (!socket_.valid()) {
    return Unavailable("keeper: not connected");
  }
  std::optional<KeeperPacket> answer;
  if (SendKeeperPacket(socket_.get(), message, fd, 0)) {
    answer = ReceiveKeeperPacket(socket_.get(), 0);
  }
  if (!answer) {
    const int error = errno;
    socket_.Reset();  // A late answer would be taken for that of the next question.
    return Unavailable("keeper: {}", ErrnoError(error, options_.address.native()).message);
  }
  if (answer->message.error == ENOENT) {
    return NotFound("keeper: holds no \"{}\"", name);
  }
  if (answer->message.error != 0) {
    return ErrnoError(answer->message.error, fmt::format("keeper: \"{}\"", name));
  }
  return std::move(*answer);
}

Result<UniqueFd> KeeperClient::Find(const std::string& name) {
  const MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(KeeperPacket answer, Ask(KeeperRequest::kFind, name, 0, -1));
  return std::move(answer.fd);
}

Result<std::optional<std::map<std::string, UniqueFd>>> KeeperClient::TryAll() {
  std::optional<std::map<std::string, UniqueFd>> all(std::in_place);
  FLOE_ASSIGN_OR_RETURN(const KeeperPacket first, Ask(KeeperRequest::kHello, "", 0, -1));
  for (uint32_t index = 0;; ++index) {
    auto answer = Ask(KeeperRequest::kAt, "", index, -1);
    if (!answer) {
      if (answer.error().code != ErrorCode::kNotFound) {
        return answer.error();
      }
      break;
    }
    const std::string_view name = answer->message.name();
    if (name.starts_with(options_.space)) {
      (*all)[std::string(name.substr(options_.space.size()))] = std::move(answer->fd);
    }
  }
  FLOE_ASSIGN_OR_RETURN(const KeeperPacket last, Ask(KeeperRequest::kHello, "", 0, -1));
  if (first.message.changes != last.message.changes) {
    all.reset();
  }
  return all;
}

Result<std::map<std::string, UniqueFd>> KeeperClient::All() {
  const MutexLock lock(mutex_);
  std::optional<std::map<std::string, UniqueFd>> all;
  while (!all) {  // Its other clients change it when something is mounted: rarely.
    FLOE_ASSIGN_OR_RETURN(all, TryAll());
  }
  for (const auto& [name, fd] : *all) {
    UniqueFd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!copy.valid()) {
      return ErrnoError(errno, fmt::format("copy of {} for the keeper", name));
    }
    kept_[name] = std::move(copy);
  }
  return std::move(*all);
}

Result<void> KeeperClient::Keep(const std::string& name, int fd) {
  const MutexLock lock(mutex_);
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) {
    return ErrnoError(errno, fmt::format("copy of {} for the keeper", name));
  }
  FLOE_RETURN_IF_ERROR(Ask(KeeperRequest::kKeep, name, 0, fd));
  kept_[name] = std::move(copy);
  return Ok();
}

void KeeperClient::Release(const std::string& name) {
  const MutexLock lock(mutex_);
  kept_.erase(name);
  if (auto released = Ask(KeeperRequest::kRelease, name, 0, -1); !released) {
    LogDebug("not released name={} reason=\"{}\"", name, released.error().message);
  }
}

Result<void> KeeperClient::Check() {
  const MutexLock lock(mutex_);
  if (!Ask(KeeperRequest::kHello, "", 0, -1)) {
    has_all_ = false;
    FLOE_RETURN_IF_ERROR(ConnectLocked());
  }
  if (has_all_) {
    return Ok();
  }
  for (const auto& [name, fd] : kept_) {
    FLOE_RETURN_IF_ERROR(Ask(KeeperRequest::kKeep, name, 0, fd.get()));
  }
  has_all_ = true;
  LogError("the keeper was lost, or the line to it; it holds descriptors={} again", kept_.size());
  return Ok();
}

Result<void> KeeperClient::Move(const std::function<Result<UniqueFd>(int)>& copy) {
  const MutexLock lock(mutex_);
  FLOE_ASSIGN_OR_RETURN(socket_, copy(socket_.get()));
  return Ok();
}

}  // namespace floe::cachemgr
