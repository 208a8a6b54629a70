#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/doctor.h"
#include "cli/private_cachemgr.h"
#include "client/cachemgr_client.h"
#include "client/containerd_client.h"

namespace floe::cli {
namespace {

struct DoctorOptions {
  std::string containerd = kDefaultContainerdSocket;
  std::string config = "/etc/containerd/config.toml";
  std::string cachemgr = kDefaultCachemgrSocket;
  std::string snapshotter = "floe";
  std::string scratch = "/var/tmp";
};

using Findings = std::vector<Finding>;

void Append(Findings more, Findings& findings) {
  std::move(more.begin(), more.end(), std::back_inserter(findings));
}

bool CriIsLoaded(const std::vector<client::Plugin>& plugins) {
  return std::any_of(plugins.begin(), plugins.end(), [](const client::Plugin& plugin) {
    return plugin.init_error.empty() &&
           ((plugin.type == "io.containerd.grpc.v1" && plugin.id == "cri") ||
            plugin.type == "io.containerd.cri.v1");
  });
}

void ExamineContainerd(const DoctorOptions& options, Findings& findings) {
  const auto containerd = client::ContainerdClient::Connect(options.containerd, "default");
  const auto version = containerd->Version();
  if (!version.has_value()) {
    findings.push_back({"containerd", "service", Verdict::kMissing, version.error().message});
    return;
  }
  const auto plugins = containerd->Plugins();
  if (!plugins.has_value()) {
    findings.push_back({"containerd", "plugins", Verdict::kMissing, plugins.error().message});
    return;
  }
  Append(ExaminePlugins(*version, *plugins, options.snapshotter), findings);
  const auto config = ReadFile(options.config);
  if (!config.has_value()) {
    findings.push_back({"containerd", "configuration", Verdict::kNote,
                        "not read (--containerd-config): " + config.error().message});
    return;
  }
  Append(ExamineContainerdConfig(*config, *version, options.snapshotter, CriIsLoaded(*plugins)),
         findings);
}

void PrintText(const Findings& findings) {
  for (const Finding& finding : findings) {
    fmt::print("{:8} {:14} {}: {}\n", VerdictName(finding.verdict), finding.area, finding.name,
               finding.detail);
  }
}

void PrintJson(const Findings& findings) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const Finding& finding : findings) {
    json.push_back({{"area", finding.area},
                    {"name", finding.name},
                    {"verdict", VerdictName(finding.verdict)},
                    {"detail", finding.detail}});
  }
  fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

/// Puts SIGINT and SIGTERM off for its lifetime. Made before any other thread, which inherits it.
class DeferredSignals {
 public:
  DeferredSignals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  }
  ~DeferredSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  DeferredSignals(const DeferredSignals&) = delete;
  DeferredSignals& operator=(const DeferredSignals&) = delete;

 private:
  sigset_t before_{};
};

/// By a cache manager that runs for nothing else, in a directory that goes again.
Result<cachemgr::v1::ProbeReply> ProbeAlone(const std::string& scratch) {
  const std::filesystem::path root =
      std::filesystem::path(scratch) / fmt::format("floe-doctor.{}", ::getpid());
  const PrivateCachemgr own(root);
  auto probe = [&]() -> Result<cachemgr::v1::ProbeReply> {
    FLOE_RETURN_IF_ERROR(own.EnsureRunning(""));
    auto reply = client::CachemgrClient::Connect(own.address())->Probe();
    if (auto stopped = own.StopWhenIdle(); !stopped) {
      LogWarning("probe: {}", stopped.error().message);
    }
    return reply;
  };
  FLOE_RETURN_IF_ERROR(CreateDirectories(root));
  auto reply = probe();
  if (auto removed = RemoveTree(root); !removed) {
    LogWarning("probe: {}", removed.error().message);
  }
  return reply;
}

void ExamineCacheManager(const DoctorOptions& options, Findings& findings) {
  Append(ExamineMounts(client::CachemgrClient::Connect(options.cachemgr)->Status()), findings);
  auto probe = client::CachemgrClient::Connect(options.cachemgr)->Probe();
  if (!probe.has_value() && probe.error().code == ErrorCode::kUnavailable && ::geteuid() == 0) {
    findings.push_back({"cache manager", "service", Verdict::kNote, probe.error().message});
    probe = ProbeAlone(options.scratch);
  }
  Append(ExamineChannels(probe), findings);
}

Result<void> RunDoctor(const GlobalOptions& global, const DoctorOptions& options) {
  Findings findings;
  {
    const DeferredSignals deferred;  // What it starts, it ends.
    findings = ExamineKernel(options.scratch);
    ExamineCacheManager(options, findings);
  }
  ExamineContainerd(options, findings);
  global.json ? PrintJson(findings) : PrintText(findings);
  const auto missing = std::count_if(findings.begin(), findings.end(), [](const Finding& finding) {
    return finding.verdict == Verdict::kMissing;
  });
  if (missing != 0) {
    return FailedPrecondition("{} of {} findings say that something is missing", missing,
                              findings.size());
  }
  return Ok();
}

}  // namespace

void AddDoctorCommand(CLI::App& app, GlobalOptions& global, Selection& selection) {
  CLI::App* command = app.add_subcommand(
      "doctor", "What this kernel and this containerd can do, and exactly what is missing");
  const auto options = std::make_shared<DoctorOptions>();
  command->add_option("--address", options->containerd, "containerd's socket")
      ->capture_default_str();
  command->add_option("--containerd-config", options->config, "containerd's configuration file")
      ->capture_default_str();
  command->add_option("--snapshotter", options->snapshotter, "Name of Floe's proxy plugin")
      ->capture_default_str();
  command->add_option("--cachemgr", options->cachemgr, "The cache manager's socket")
      ->capture_default_str();
  command->add_option("--scratch", options->scratch, "A directory on the file system of the cache")
      ->capture_default_str();
  command->callback([options, &global, &selection] {
    selection.body = [options, &global] { return RunDoctor(global, *options); };
  });
}

}  // namespace floe::cli
