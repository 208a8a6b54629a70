#include "cli/private_cachemgr.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "base/unix_socket.h"
#include "client/cachemgr_client.h"

namespace floe::cli {
namespace {

constexpr std::chrono::seconds kStartTimeout{20};
constexpr std::chrono::milliseconds kStartPoll{30};
// It must finish the fills that run, with their own deadlines.
constexpr std::chrono::seconds kStopTimeout{40};

/// The file actions and attributes of a daemon: own session, no terminal, output into a log.
class DaemonSpawn {
 public:
  explicit DaemonSpawn(const std::string& log) {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, log.c_str(),
                                       O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::posix_spawn_file_actions_adddup2(&actions_, STDOUT_FILENO, STDERR_FILENO);
    ::posix_spawn_file_actions_addchdir_np(&actions_, "/");
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSID);
  }
  ~DaemonSpawn() {
    ::posix_spawnattr_destroy(&attributes_);
    ::posix_spawn_file_actions_destroy(&actions_);
  }
  DaemonSpawn(const DaemonSpawn&) = delete;
  DaemonSpawn& operator=(const DaemonSpawn&) = delete;

  [[nodiscard]] Result<pid_t> Run(const std::vector<std::string>& command) const {
    std::vector<char*> arguments;
    arguments.reserve(command.size() + 1);
    for (const std::string& argument : command) {
      arguments.push_back(const_cast<char*>(argument.c_str()));  // posix_spawn does not write.
    }
    arguments.push_back(nullptr);
    pid_t pid = 0;
    if (const int error = ::posix_spawn(&pid, command[0].c_str(), &actions_, &attributes_,
                                        arguments.data(), environ);
        error != 0) {
      return ErrnoError(error, "start " + command[0]);
    }
    return pid;
  }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

/// The last line of a log, which says why its program ended.
std::string LastLine(const std::filesystem::path& log) {
  auto text = ReadFile(log);
  if (!text.has_value()) {
    return "";
  }
  while (!text->empty() && text->back() == '\n') {
    text->pop_back();
  }
  return text->substr(text->rfind('\n') + 1);
}

Result<std::filesystem::path> ProgramBesideThisOne(const std::string& name) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) {
    return ErrnoError(error.value(), "read /proc/self/exe");
  }
  auto program = self.parent_path() / name;
  if (::access(program.c_str(), X_OK) != 0) {
    return ErrnoError(errno, program.native());
  }
  return program;
}

// glibc 2.36 declares these two without C linkage, so they cannot be called from C++.
int PidfdOpen(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }
int PidfdSendSignal(int pidfd, int signal) {
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

/// The process that listens on a Unix socket, as the kernel knows it; NotFound when none does.
Result<UniqueFd> ListeningProcess(const std::string& address) {
  FLOE_ASSIGN_OR_RETURN(const UniqueFd socket, ConnectToUnixSocket(address, SOCK_STREAM));
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return ErrnoError(errno, "who listens on " + address);
  }
  UniqueFd process(PidfdOpen(peer.pid));
  if (!process.valid()) {
    return ErrnoError(errno, "open process " + std::to_string(peer.pid));
  }
  return process;
}

Result<void> WaitForEnd(const UniqueFd& process) {
  pollfd wait{process.get(), POLLIN, 0};
  const auto timeout = std::chrono::duration_cast<std::chrono::milliseconds>(kStopTimeout);
  if (::poll(&wait, 1, static_cast<int>(timeout.count())) != 1) {
    return DeadlineExceeded("the private cache manager has not ended after {} s",
                            kStopTimeout.count());
  }
  return Ok();
}

}  // namespace

Result<UniqueFd> PrivateCachemgr::Lock() const {
  FLOE_RETURN_IF_ERROR(CreateDirectories(root_));
  FLOE_ASSIGN_OR_RETURN(UniqueFd lock, OpenFile(root_ / "lock", O_RDWR | O_CREAT));
  while (::flock(lock.get(), LOCK_EX) != 0) {
    if (errno != EINTR) {
      return ErrnoError(errno, "lock " + root_.native());
    }
  }
  return lock;
}

Result<void> PrivateCachemgr::EnsureRunning(const std::string& channel) const {
  const auto status = client::CachemgrClient::Connect(address())->Status();
  if (status.has_value()) {
    return Ok();
  }
  if (status.error().code != ErrorCode::kUnavailable) {
    return status.error();
  }
  return Start(channel);
}

Result<void> PrivateCachemgr::Start(const std::string& channel) const {
  FLOE_ASSIGN_OR_RETURN(const auto program, ProgramBesideThisOne("floe-cachemgr"));
  std::vector<std::string> command = {
      program.native(), "--root", (root_ / "cache").native(), "--address", address(),
      "--keeper",       "none"};
  if (!channel.empty()) {
    command.insert(command.end(), {"--channel", channel});
  }
  const std::string log = (root_ / "cachemgr.log").native();
  FLOE_ASSIGN_OR_RETURN(const pid_t pid, DaemonSpawn(log).Run(command));
  const auto client = client::CachemgrClient::Connect(address());
  const Deadline deadline = Deadline::After(kStartTimeout);
  while (!deadline.Expired()) {
    if (std::filesystem::exists(address()) && client->Status().has_value()) {
      return Ok();
    }
    if (::waitpid(pid, nullptr, WNOHANG) == pid) {
      return FailedPrecondition("the private cache manager ended at once: {}", LastLine(log));
    }
    std::this_thread::sleep_for(kStartPoll);
  }
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  return DeadlineExceeded("the private cache manager does not answer; see {}", log);
}

Result<void> PrivateCachemgr::StopWhenIdle() const {
  const auto status = client::CachemgrClient::Connect(address())->Status();
  if (!status.has_value() || status->mounts_size() != 0) {
    return Ok();  // Nobody there, or still needed.
  }
  FLOE_ASSIGN_OR_RETURN(const UniqueFd process, ListeningProcess(address()));
  if (PidfdSendSignal(process.get(), SIGTERM) != 0) {
    return ErrnoError(errno, "end the private cache manager");
  }
  return WaitForEnd(process);
}

}  // namespace floe::cli
