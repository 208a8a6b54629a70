#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>

#include "base/clock.h"
#include "base/log.h"
#include "base/privileges.h"
#include "cachemgr/config.h"
#include "cachemgr/manager.h"
#include "cachemgr/service/cachemgr_service.h"
#include "cachemgr/service/socket_server.h"
#include "fetcher/registry_client.h"

namespace floe::cachemgr {
namespace {

struct Arguments {
  std::string root;
  std::string address;
  std::string channel;
  std::string config_file;
  std::string log_level;
  std::string keeper;
};

// Each blob holds up to three descriptors (its own, the channel's, one for the keeper), each FUSE
// file of a mount one.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &limit);
  }
}

// Mounts, fanotify and cachefiles; directories above --root that are not root's; to name the
// program that holds /dev/cachefiles; and for the keeper that it starts: oom_score_adj, and memory
// that stays.
constexpr std::array kCapabilities = {CAP_SYS_ADMIN, CAP_DAC_OVERRIDE, CAP_SYS_PTRACE,
                                      CAP_SYS_RESOURCE, CAP_IPC_LOCK};

// Beside this program.
std::filesystem::path KeeperProgram() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? "" : self.parent_path() / "floe-keeper";
}

Result<Config> MakeConfig(const Arguments& arguments) {
  Config config;
  if (!arguments.config_file.empty()) {
    FLOE_RETURN_IF_ERROR(ApplyConfigFile(arguments.config_file, config));
  }
  if (!arguments.channel.empty()) {
    config.manager.channel = arguments.channel;
  }
  if (!arguments.log_level.empty()) {
    FLOE_ASSIGN_OR_RETURN(config.log_level, ParseLogLevel(arguments.log_level));
  }
  if (!arguments.keeper.empty()) {
    config.manager.keeper_address = arguments.keeper;
  }
  config.manager.keeper_program = KeeperProgram();
  config.manager.root = arguments.root;
  config.registry.user_agent = "floe-cachemgr/" FLOE_VERSION;
  return config;
}

RegistryClients::Factory ClientFactory(const fetcher::RegistryOptions& options) {
  return [options](const std::string& plain_http_registry) {
    fetcher::RegistryOptions own = options;
    if (!plain_http_registry.empty()) {
      own.plain_http.push_back(plain_http_registry);
    }
    return fetcher::RegistryClient::Create(own);
  };
}

// Serves until SIGTERM or SIGINT, which every thread blocks and only this one waits for.
Result<void> Run(const Arguments& arguments, const sigset_t& stop_signals) {
  FLOE_ASSIGN_OR_RETURN(const Config config, MakeConfig(arguments));
  InitLogging("floe-cachemgr", config.log_level);
  RaiseDescriptorLimit();
  FLOE_ASSIGN_OR_RETURN(
      const auto manager,
      Manager::Create(config.manager, ClientFactory(config.registry), Clock::Real()));
  CachemgrService service(*manager);
  FLOE_ASSIGN_OR_RETURN(const auto server, ServeOnSocket(arguments.address, service));
  LogInfo("ready version={} root={} address={} channel={}", FLOE_VERSION, manager->root().native(),
          arguments.address, config.manager.channel);
  int signal = 0;
  while (::sigwait(&stop_signals, &signal) != 0) {
  }
  LogInfo("stopping signal={}", signal);
  constexpr std::chrono::seconds kDrain{5};
  server->Shutdown(std::chrono::system_clock::now() + kDrain);
  manager->Stop();
  LogInfo("stopped");
  return Ok();
}

int Main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Floe's cache manager: answers the kernel's on-demand reads of lazy images.",
               "floe-cachemgr");
  app.add_option("--root", arguments.root, "its own directory: cache and mounts")->required();
  app.add_option("--address", arguments.address, "path of the Unix socket to serve on")->required();
  app.add_option("--channel", arguments.channel,
                 "auto, fuse, fuse-loop (fuse through loop devices, as on kernels before 6.12), "
                 "fanotify (pre-content events), or cachefiles (EROFS over fscache)");
  app.add_option(
      "--keeper", arguments.keeper,
      "path of the keeper's socket (default: keeper.sock in the root directory), or none");
  app.add_option("--config", arguments.config_file, "TOML file");
  app.add_option("--log-level", arguments.log_level, "debug, info, warning or error");
  app.set_version_flag("--version", FLOE_VERSION);
  CLI11_PARSE(app, argc, argv);
  arguments.address = std::filesystem::absolute(arguments.address);

  // Before any thread starts, so that all inherit these.
  if (auto kept = KeepCapabilities(kCapabilities); !kept) {
    std::fprintf(stderr, "floe-cachemgr: %s\n", kept.error().message.c_str());
    return 1;
  }
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
  (void)::signal(SIGPIPE, SIG_IGN);
  ::umask(0077);
  if (auto done = Run(arguments, stop_signals); !done) {
    std::fprintf(stderr, "floe-cachemgr: %s\n", done.error().message.c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace floe::cachemgr

int main(int argc, char** argv) { return floe::cachemgr::Main(argc, argv); }
