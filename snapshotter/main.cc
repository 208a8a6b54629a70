#include <linux/capability.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
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
#include "base/privileges.h"
#include "base/thread_name.h"
#include "client/cachemgr_client.h"
#include "fetcher/registry_client.h"
#include "snapshotter/cachemgr_mounter.h"
#include "snapshotter/config.h"
#include "snapshotter/registry_image_source.h"
#include "snapshotter/repair.h"
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
  bool repair = false;
};

// What makes and removes a container's files, whoever owns them and whatever their modes; and to
// read the trusted.* xattrs of lower directories (implied.h). It mounts nothing itself.
constexpr std::array kCapabilities = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID,
                                      CAP_SYS_ADMIN};

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
  const std::unique_ptr<client::CachemgrClient> stream_client =
      arguments.cachemgr.empty() ? nullptr : client::CachemgrClient::Connect(arguments.cachemgr);
  const std::unique_ptr<prepare::LayerStreamer> streamer =
      stream_client == nullptr
          ? nullptr
          : client::MakeLayerStreamer(*stream_client, [&config](const std::string& host) {
              return std::ranges::find(config.registry.plain_http, host) !=
                     config.registry.plain_http.end();
            });
  const auto publisher = config.publish_streamed ? std::make_unique<IndexPushQueue>(
                                                       *registry, layout.indexes().native())
                                                 : nullptr;
  RegistryImageSource images(*registry,
                             {.trust = config.index_trust,
                              .store_dir = layout.indexes().native(),
                              .may_stream = config.stream_missing,
                              .allow_unverified = config.allow_unverified},
                             streamer.get(), publisher.get());
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

Result<void> Repair(const Arguments& arguments) {
  const RootLayout layout(std::filesystem::absolute(arguments.root));
  FLOE_ASSIGN_OR_RETURN(const UniqueFd lock, LockRoot(layout.lock()));
  FLOE_ASSIGN_OR_RETURN(const RepairReport report, RepairStore(layout, Clock::Real()));
  if (report.was_sound) {
    fmt::print("{} is sound: nothing was done\n", layout.metadata().native());
    return Ok();
  }
  fmt::print(
      "{} is repaired: {} snapshots kept, {} lost; the old one, and the files of lost"
      " snapshots, are in {}\n",
      layout.metadata().native(), report.kept, report.lost, report.aside.native());
  if (report.lost > 0) {
    fmt::print(
        "what containerd still lists of the lost ones goes with the containers and images"
        " that use them; then pull again\n");
  }
  return Ok();
}

Result<void> Run(const Arguments& arguments) {
  FLOE_RETURN_IF_ERROR(KeepCapabilities(kCapabilities));
  if (arguments.repair) {
    return Repair(arguments);
  }
  const sigset_t signals = BlockTerminationSignals();
  FLOE_ASSIGN_OR_RETURN(const Config config, LoadConfig(arguments));
  InitLogging("floe-snapshotter", config.log_level);
  return Serve(arguments, config, signals);
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
  app.add_flag("--repair", arguments.repair,
               "Repair the metadata store of a root that refuses to start, and end");
  CLI11_PARSE(app, argc, argv);

  // New files are root's alone; what others may see is given its mode explicitly.
  ::umask(S_IRWXG | S_IRWXO);
  if (auto done = Run(arguments); !done) {
    std::fprintf(stderr, "floe-snapshotter: %s\n", done.error().ToString().c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace floe::snapshotter

int main(int argc, char** argv) { return floe::snapshotter::Main(argc, argv); }
