#include <sys/stat.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include <CLI/CLI.hpp>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "client/cachemgr_client.h"
#include "fetcher/registry_client.h"
#include "snapshotter/cachemgr_mounter.h"
#include "snapshotter/config.h"
#include "snapshotter/registry_image_source.h"
#include "snapshotter/service/server.h"
#include "snapshotter/snapshots.h"

namespace floe::snapshotter {
namespace {

struct Arguments {
  std::string root = "/var/lib/floe/snapshotter";
  std::string address = "/run/floe/snapshotter.sock";
  std::string cachemgr;
  std::string config;
  std::string log_level;
};

Result<Config> LoadConfig(const Arguments& arguments) {
  Config config;
  if (!arguments.config.empty()) {
    FLOE_ASSIGN_OR_RETURN(config, ReadConfig(arguments.config));
  }
  if (!arguments.log_level.empty()) {
    FLOE_ASSIGN_OR_RETURN(config.log_level, ParseLogLevel(arguments.log_level));
  }
  return config;
}

std::unique_ptr<ImageMounter> MakeMounter(const Arguments& arguments, const Config& config) {
  if (arguments.cachemgr.empty()) {
    LogWarning("no cache manager configured: no layer will be lazy");
    return nullptr;
  }
  return std::make_unique<CachemgrMounter>(client::CachemgrClient::Connect(arguments.cachemgr),
                                           config.registry.plain_http);
}

// Blocked in every thread, so that only sigwait takes them.
sigset_t BlockTerminationSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

// What an earlier run left half-made goes away beside the first calls, not before them.
std::jthread StartFirstCleanup(Snapshotter& snapshotter) {
  return std::jthread([&snapshotter] {
    SetThreadName("first-cleanup");
    if (auto cleaned = snapshotter.Cleanup(); !cleaned) {
      LogWarning("cleanup at start reason=\"{}\"", cleaned.error().message);
    }
  });
}

Result<void> Serve(const Arguments& arguments, const Config& config, const sigset_t& signals) {
  const RootLayout layout(std::filesystem::absolute(arguments.root));
  FLOE_RETURN_IF_ERROR(CreateDirectories(layout.root()));
  FLOE_ASSIGN_OR_RETURN(const UniqueFd lock, LockRoot(layout.lock()));
  FLOE_RETURN_IF_ERROR(
      CreateDirectories(std::filesystem::absolute(arguments.address).parent_path()));

  FLOE_ASSIGN_OR_RETURN(std::unique_ptr<fetcher::RegistryClient> registry,
                        fetcher::RegistryClient::Create(config.registry));
  RegistryImageSource images(*registry, config.index_trust, layout.indexes().native());
  const std::unique_ptr<ImageMounter> mounter = MakeMounter(arguments, config);
  FLOE_ASSIGN_OR_RETURN(
      std::unique_ptr<Snapshotter> snapshotter,
      Snapshotter::Create({.layout = layout,
                           .images = images,
                           .mounter = mounter.get(),
                           .clock = Clock::Real(),
                           .resolve_timeout = config.resolve_timeout,
                           .overlay = OverlaySupport::Probe("/sys/module/overlay/parameters")}));
  const std::jthread first_cleanup = StartFirstCleanup(*snapshotter);
  FLOE_ASSIGN_OR_RETURN(const std::unique_ptr<Server> server,
                        Server::Start(arguments.address, *snapshotter));
  LogInfo("ready root={} address={} cachemgr={}", layout.root().native(), arguments.address,
          arguments.cachemgr.empty() ? "-" : arguments.cachemgr);
  int signal = 0;
  sigwait(&signals, &signal);
  LogInfo("stopping signal={}", signal);
  return Ok();
}

int Main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Floe's snapshotter: the service behind containerd's proxy plugin");
  app.add_option("--root", arguments.root, "Directory for everything it keeps")
      ->capture_default_str();
  app.add_option("--address", arguments.address, "Unix socket to serve on")->capture_default_str();
  app.add_option("--cachemgr", arguments.cachemgr,
                 "Unix socket of floe-cachemgr; without it no layer is lazy");
  app.add_option("--config", arguments.config, "Configuration file (TOML)");
  app.add_option("--log-level", arguments.log_level, "debug, info, warning or error");
  CLI11_PARSE(app, argc, argv);

  // New files are root's alone; what others may see is given its mode explicitly.
  ::umask(S_IRWXG | S_IRWXO);
  const sigset_t signals = BlockTerminationSignals();
  auto config = LoadConfig(arguments);
  if (config) {
    InitLogging("floe-snapshotter", config->log_level);
  }
  auto served = config ? Serve(arguments, *config, signals) : Result<void>(config.error());
  if (!served) {
    std::fprintf(stderr, "floe-snapshotter: %s\n", served.error().ToString().c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace floe::snapshotter

int main(int argc, char** argv) { return floe::snapshotter::Main(argc, argv); }
