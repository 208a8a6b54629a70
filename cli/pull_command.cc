
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/image_source.h"
#include "cli/progress.h"
#include "cli/pull.h"

namespace floe::cli {
namespace {

// An image may be unpacked over a slow link.
constexpr std::chrono::hours kPullTimeout{6};

struct PullOptions {
  ImageSource image;
  std::string address = kDefaultContainerdSocket;
  std::string containerd_namespace = "default";
  std::string snapshotter = "floe";
};

const char* OutcomeName(LayerOutcome outcome) {
  switch (outcome) {
    case LayerOutcome::kPresent:
      return "present";
    case LayerOutcome::kLazy:
      return "lazy";
    case LayerOutcome::kUnpacked:
      return "unpacked";
  }
  return "";
}

void PrintReport(const PullReport& report, std::chrono::duration<double> elapsed) {
  uint64_t image_bytes = 0;
  uint64_t downloaded_bytes = report.metadata_bytes;
  for (const PulledLayer& layer : report.layers) {
    fmt::print("{}  {:8}  {:>10}  downloaded {}\n", layer.digest.ToString(),
               OutcomeName(layer.outcome), FormatBytes(layer.size_bytes),
               FormatBytes(layer.downloaded_bytes));
    image_bytes += layer.size_bytes;
    downloaded_bytes += layer.downloaded_bytes;
  }
  fmt::print("{}: {} layers, {}, downloaded {} in {:.2f} s\n", report.image_name,
             report.layers.size(), FormatBytes(image_bytes), FormatBytes(downloaded_bytes),
             elapsed.count());
}

Result<void> RunPull(const GlobalOptions& global, const PullOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const Deadline deadline = Deadline::After(kPullTimeout);
  const auto containerd =
      client::ContainerdClient::Connect(options.address, options.containerd_namespace);
  FLOE_RETURN_IF_ERROR(containerd->Version());  // Before anything is asked of the registry.
  FLOE_ASSIGN_OR_RETURN(const auto target, options.image.Locate(global));
  FLOE_ASSIGN_OR_RETURN(const auto image,
                        prepare::ResolveImage(*target.registry, target.reference, std::nullopt,
                                              target.platform, deadline));
  PullReport report;
  {
    ProgressBars bars(LayerLabels(image));
    FLOE_ASSIGN_OR_RETURN(report, PullImage(
                                      *containerd, *target.registry, image, options.snapshotter,
                                      [&bars](size_t layer, uint64_t done, uint64_t total) {
                                        bars.Update(layer, done, total);
                                      },
                                      deadline));
  }
  PrintReport(report, std::chrono::steady_clock::now() - start);
  return Ok();
}

}  // namespace

void AddPullCommand(CLI::App& app, GlobalOptions& global, Selection& selection) {
  CLI::App* command =
      app.add_subcommand("pull", "Pull an image into containerd, lazily where its layers can be");
  const auto options = std::make_shared<PullOptions>();
  options->image.AddTo(*command);
  command->add_option("--address", options->address, "containerd's socket")->capture_default_str();
  command->add_option("--namespace", options->containerd_namespace, "containerd's namespace")
      ->capture_default_str();
  command->add_option("--snapshotter", options->snapshotter, "Name of Floe's proxy plugin")
      ->capture_default_str();
  command->callback([options, &global, &selection] {
    selection.body = [options, &global] { return RunPull(global, *options); };
  });
}

}  // namespace floe::cli
