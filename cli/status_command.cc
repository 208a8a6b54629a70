#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/status.h"
#include "client/cachemgr_client.h"

namespace floe::cli {
namespace {

struct StatusOptions {
  std::string cachemgr = kDefaultCachemgrSocket;
};

Result<void> RunStatus(const GlobalOptions& global, const StatusOptions& options) {
  FLOE_ASSIGN_OR_RETURN(const auto status,
                        client::CachemgrClient::Connect(options.cachemgr)->Status());
  fmt::print("{}\n", global.json ? StatusJson(status) : StatusText(status));
  return Ok();
}

}  // namespace

void AddStatusCommand(CLI::App& app, GlobalOptions& global, Selection& selection) {
  CLI::App* command = app.add_subcommand("status", "Mounts, blobs and counters of a cache manager");
  const auto options = std::make_shared<StatusOptions>();
  command->add_option("--cachemgr", options->cachemgr, "Its socket")->capture_default_str();
  command->callback([options, &global, &selection] {
    selection.body = [options, &global] { return RunStatus(global, *options); };
  });
}

}  // namespace floe::cli
