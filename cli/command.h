#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "fetcher/registry_client.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's name.
class App;
}  // namespace CLI

namespace floe::cli {

/// What every command shares. Filled by the parser before a command runs.
struct GlobalOptions {
  std::vector<std::string> plain_http;  ///< Registries ("host[:port]") spoken to without TLS.
  bool plain_http_all = false;          ///< --plain-http without a value: the reference's registry.
  std::string ca_file;
  std::string docker_config_dir;
  std::string log_level = "warning";
  bool json = false;
};

/// A command's body: returns an error to be printed as one line, with exit code 1.
using CommandBody = std::function<Result<void>()>;

/// The body of the subcommand that the user chose; empty before parsing.
struct Selection {
  CommandBody body;
};

/// Each adds its subcommands to `app`; their callbacks set `selection.body`. `options` outlives the
/// run.
void AddIndexCommands(CLI::App& app, GlobalOptions& options, Selection& selection);

/// A registry client as the options say; `registry` is the reference's, for --plain-http.
Result<std::unique_ptr<fetcher::RegistryClient>> MakeRegistryClient(const GlobalOptions& options,
                                                                    const std::string& registry);

}  // namespace floe::cli
