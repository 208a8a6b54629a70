#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>

#include "base/file.h"
#include "base/privileges.h"
#include "base/unix_socket.h"
#include "cachemgr/keeper/keeper.h"
#include "cachemgr/keeper/own_cgroup.h"

namespace floe::cachemgr {
namespace {

struct Arguments {
  std::string address;
  bool detach = false;
  bool while_needed = false;
};

// How many may be held: the rest is for connections and what comes with a packet.
size_t RaiseDescriptorLimit() {
  constexpr size_t kOthers = Keeper::kConnections + 16;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return 0;
  }
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
  return std::max<size_t>(limit.rlim_cur, kOthers) - kOthers;
}

// The last to be killed when memory is short: with it, images that run would go.
void AskToBeSpared() {
  if (auto file = OpenFile("/proc/self/oom_score_adj", O_WRONLY)) {
    constexpr std::string_view kNever = "-1000";
    (void)::write(file->get(), kNever.data(), kNever.size());
  }
  (void)::mlockall(MCL_CURRENT);  // Its own text, too, must not wait for a disk.
}

UniqueFd EndSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  ::sigprocmask(SIG_SETMASK, &signals, nullptr);
  for (const int ignored : {SIGPIPE, SIGHUP}) {
    (void)::signal(ignored, SIG_IGN);
  }
  return UniqueFd(::signalfd(-1, &signals, SFD_CLOEXEC));
}

// Nothing of whoever started it stays open: a lock would never be free again.
void CloseInherited() { (void)::close_range(STDERR_FILENO + 1, ~0U, 0); }

// Goes on as a child in a session of its own; the parent ends when what is returned is closed.
Result<UniqueFd> Detach() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return ErrnoError(errno, "pipe");
  }
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) {
    return ErrnoError(errno, "fork");
  }
  if (child > 0) {
    writer.Reset();
    std::array<char, 1> byte{};
    (void)::read(reader.get(), byte.data(), byte.size());
    std::_Exit(0);
  }
  ::setsid();
  FLOE_ASSIGN_OR_RETURN(const UniqueFd null, OpenFile("/dev/null", O_RDWR));
  (void)::dup2(null.get(), STDIN_FILENO);
  (void)::dup2(null.get(), STDOUT_FILENO);
  if (::chdir("/") != 0) {
    return ErrnoError(errno, "chdir /");
  }
  return writer;
}

Result<void> Run(const Arguments& arguments) {
  CloseInherited();
  FLOE_ASSIGN_OR_RETURN(UniqueFd listener, ListenOnUnixSocket(arguments.address, SOCK_SEQPACKET));
  OwnCgroup cgroup;
  UniqueFd parent;
  if (arguments.detach) {
    FLOE_ASSIGN_OR_RETURN(parent, Detach());
    cgroup = OwnCgroup::Enter("floe-keeper-" + std::to_string(::getpid()));
  }
  const size_t capacity = RaiseDescriptorLimit();
  const auto keeper = std::make_unique<Keeper>(
      std::move(listener), EndSignals(),
      Keeper::Options{
          .uid = ::geteuid(), .while_needed = arguments.while_needed, .capacity = capacity});
  AskToBeSpared();
  FLOE_RETURN_IF_ERROR(KeepCapabilities({}));  // To hold descriptors takes none.
  parent.Reset();
  keeper->Run();
  ::unlink(arguments.address.c_str());
  cgroup.Leave();
  return Ok();
}

int Main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Floe's keeper: holds the descriptors of lazy mounts while no cache manager runs.",
               "floe-keeper");
  app.add_option("--address", arguments.address, "path of the Unix socket to serve on")->required();
  app.add_flag("--detach", arguments.detach,
               "go into the background, in a session and control group of its own");
  app.add_flag("--while-needed", arguments.while_needed,
               "end once nothing is held and nobody is connected");
  app.set_version_flag("--version", FLOE_VERSION);
  CLI11_PARSE(app, argc, argv);
  arguments.address = std::filesystem::absolute(arguments.address);
  ::umask(0077);
  if (auto done = Run(arguments); !done) {
    std::fprintf(stderr, "floe-keeper: %s\n", done.error().message.c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace floe::cachemgr

int main(int argc, char** argv) { return floe::cachemgr::Main(argc, argv); }
