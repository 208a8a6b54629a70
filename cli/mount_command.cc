#include <algorithm>
#include <chrono>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/image_source.h"
#include "cli/lazy_mount.h"
#include "cli/progress.h"

namespace floe::cli {
namespace {

constexpr std::chrono::minutes kMountTimeout{5};

struct MountOptions {
  ImageSource image;
  std::string directory;
  std::string root = kDefaultMountRoot;
  std::string cachemgr;
  std::string channel;
  std::string trust = "repository";
  bool allow_unverified = false;
  bool no_stream = false;
};

bool SpeaksPlainHttp(const GlobalOptions& global, const fetcher::Reference& reference) {
  const std::string& registry = reference.repository.registry;
  return global.plain_http_all || std::find(global.plain_http.begin(), global.plain_http.end(),
                                            registry) != global.plain_http.end();
}

Result<void> RunMount(const GlobalOptions& global, const MountOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const Deadline deadline = Deadline::After(kMountTimeout);
  LazyMountOptions mount{.root = options.root,
                         .cachemgr = options.cachemgr,
                         .channel = options.channel,
                         .find = {.store_dir = {},
                                  .may_stream = !options.no_stream,
                                  .allow_unverified = options.allow_unverified}};
  FLOE_ASSIGN_OR_RETURN(mount.find.trust, prepare::ParseIndexTrust(options.trust));
  FLOE_ASSIGN_OR_RETURN(const auto target, options.image.Locate(global));
  mount.plain_http = SpeaksPlainHttp(global, target.reference);
  FLOE_ASSIGN_OR_RETURN(const auto report, MountImage(target, options.directory, mount, deadline));
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  fmt::print("{}: {} inodes of {} at {}, channel {}, index {}, in {:.2f} s\n",
             options.image.reference, report.inode_count, FormatBytes(report.image_bytes),
             options.directory, report.channel, FormatBytes(report.index_bytes), elapsed.count());
  return Ok();
}

void AddMountCommand(CLI::App& app, GlobalOptions& global, Selection& selection) {
  CLI::App* command =
      app.add_subcommand("mount", "Mount an image lazily on a directory, without containerd");
  const auto options = std::make_shared<MountOptions>();
  options->image.AddTo(*command);
  command->add_option("dir", options->directory, "An existing directory")
      ->required()
      ->type_name("DIR");
  command->add_option("--cachemgr", options->cachemgr,
                      "Socket of a running cache manager (default: a private one is started)");
  command->add_option("--root", options->root, "Where the private cache manager keeps its files")
      ->capture_default_str();
  command->add_option("--channel", options->channel, "Channel of the private cache manager");
  command
      ->add_option("--trust", options->trust,
                   "Which indexes are good enough: repository, bound or local")
      ->capture_default_str();
  command->add_flag("--no-stream", options->no_stream,
                    "Fail where a layer has no index, instead of reading it once as a whole");
  command->add_flag("--allow-unverified", options->allow_unverified,
                    "Read formats that have no digests for their data, too");
  command->callback([options, &global, &selection] {
    selection.body = [options, &global] { return RunMount(global, *options); };
  });
}

void AddUnmountCommand(CLI::App& app, Selection& selection) {
  CLI::App* command = app.add_subcommand("unmount", "Undo floe mount");
  const auto options = std::make_shared<MountOptions>();
  command->add_option("dir", options->directory, "The directory")->required()->type_name("DIR");
  command->add_option("--root", options->root, "As given to floe mount")->capture_default_str();
  command->callback([options, &selection] {
    selection.body = [options] { return UnmountImage(options->directory, options->root); };
  });
}

}  // namespace

void AddMountCommands(CLI::App& app, GlobalOptions& options, Selection& selection) {
  AddMountCommand(app, options, selection);
  AddUnmountCommand(app, selection);
}

}  // namespace floe::cli
