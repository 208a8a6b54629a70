#include "fetcher/auth/credential_helper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <climits>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/unique_fd.h"

namespace floe::fetcher {
namespace {

constexpr size_t kMaxOutputBytes = 1U << 20U;
constexpr std::string_view kNotFoundText = "credentials not found";
constexpr std::string_view kTokenUser = "<token>";

bool IsHelperName(const std::string& name) {
  return !name.empty() && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

struct Pipe {
  UniqueFd read, write;
};

Result<Pipe> MakePipe() {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) {
    return ErrnoError(errno, "pipe2");
  }
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

int PollTimeout(Deadline deadline) {
  if (deadline.infinite()) {
    return -1;
  }
  auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline.Remaining()).count();
  return static_cast<int>(std::min<int64_t>(left, INT_MAX));
}

/// DeadlineExceeded, or Cancelled when `stop_fd` became readable.
Result<void> WaitReadable(int fd, Deadline deadline, int stop_fd) {
  for (;;) {
    std::array<pollfd, 2> fds = {pollfd{fd, POLLIN, 0}, pollfd{stop_fd, POLLIN, 0}};
    int ready = ::poll(fds.data(), fds.size(), PollTimeout(deadline));
    if (ready == 0) {
      return DeadlineExceeded("no answer in time");
    }
    if (ready > 0 && fds[1].revents != 0) {
      return Cancelled("shutting down");
    }
    if (ready > 0) {
      return Ok();
    }
    if (errno != EINTR) {
      return ErrnoError(errno, "poll");
    }
  }
}

/// A running child in a process group of its own; killed with it unless it was waited for.
class Child {
 public:
  Child() = default;
  ~Child() {
    if (pid_ > 0) {
      (void)::kill(-pid_, SIGKILL);
      (void)Wait();
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  Result<void> Spawn(const std::string& program, int stdin_fd, int stdout_fd) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, stdin_fd, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, stdout_fd, STDOUT_FILENO);
    // What a helper complains about on standard error may hold secrets.
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    std::string name = program;
    std::string verb = "get";
    std::array<char*, 3> argv = {name.data(), verb.data(), nullptr};
    int error = ::posix_spawnp(&pid_, program.c_str(), &actions, &attributes, argv.data(), environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
      pid_ = -1;
      return FailedPrecondition("{} cannot be started: {}", program,
                                ErrnoError(error, "exec").message);
    }
    return Ok();
  }

  /// The exit status, or 128 and the signal; the errors of WaitReadable.
  Result<int> WaitUntil(Deadline deadline, int stop_fd) {
    // A child that closed its output may still run.
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    if (!pidfd.valid()) {
      return ErrnoError(errno, "pidfd_open");
    }
    FLOE_RETURN_IF_ERROR(WaitReadable(pidfd.get(), deadline, stop_fd));
    return Wait();
  }

 private:
  int Wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  pid_t pid_ = -1;
};

/// Everything until the end of the file.
Result<std::string> ReadUntilEnd(int fd, Deadline deadline, int stop_fd) {
  std::string output;
  std::array<char, 4096> chunk{};
  for (;;) {
    FLOE_RETURN_IF_ERROR(WaitReadable(fd, deadline, stop_fd));
    ssize_t count = ::read(fd, chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return ErrnoError(errno, "read");
    }
    if (count == 0) {
      return output;
    }
    output.append(chunk.data(), static_cast<size_t>(count));
    if (output.size() > kMaxOutputBytes) {
      return FailedPrecondition("answers more than {} bytes", kMaxOutputBytes);
    }
  }
}

Result<Credential> ParseAnswer(const std::string& output) {
  nlohmann::json json = nlohmann::json::parse(output, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("Username") || !json["Username"].is_string() ||
      !json.contains("Secret") || !json["Secret"].is_string()) {
    return FailedPrecondition("answers something else than a credential");
  }
  Credential credential;
  credential.username = json["Username"].get<std::string>();
  std::string secret = json["Secret"].get<std::string>();
  if (credential.username == kTokenUser) {
    credential.username.clear();
    credential.identity_token = std::move(secret);
  } else {
    credential.password = std::move(secret);
  }
  return credential;
}

Result<Credential> Ask(const std::string& program, const std::string& server_url, Deadline deadline,
                       int stop_fd) {
  FLOE_ASSIGN_OR_RETURN(Pipe input, MakePipe());
  FLOE_ASSIGN_OR_RETURN(Pipe output, MakePipe());
  Child child;
  FLOE_RETURN_IF_ERROR(child.Spawn(program, input.read.get(), output.write.get()));
  input.read.Reset();
  output.write.Reset();
  // A URL fits into the pipe at once, and a helper that reads nothing may still answer.
  (void)!::write(input.write.get(), server_url.data(), server_url.size());
  input.write.Reset();
  FLOE_ASSIGN_OR_RETURN(std::string text, ReadUntilEnd(output.read.get(), deadline, stop_fd));
  FLOE_ASSIGN_OR_RETURN(int status, child.WaitUntil(deadline, stop_fd));
  if (status != 0 && text.find(kNotFoundText) != std::string::npos) {
    return Credential();
  }
  if (status != 0) {
    return FailedPrecondition("ends with status {}", status);
  }
  return ParseAnswer(text);
}

}  // namespace

Result<Credential> RunCredentialHelper(const std::string& helper, const std::string& server_url,
                                       Deadline deadline, int stop_fd) {
  if (!IsHelperName(helper)) {
    return InvalidArgument("credential helper with a bad name");
  }
  std::string program = "docker-credential-" + helper;
  Result<Credential> answer = Ask(program, server_url, deadline, stop_fd);
  return answer ? std::move(answer) : WithContext(std::move(answer).error(), program);
}

}  // namespace floe::fetcher
