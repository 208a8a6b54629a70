// The `floe` command.

#include <csignal>
#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/log.h"
#include "cli/commands.h"

namespace floe::cli {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

/// They may stand before or after the sub-command.
void AddGlobalOptions(CLI::App& app, GlobalOptions& options) {
  app.fallthrough();
  options.log_level = "error";  // A command that fails says why in one line; that is enough.
  app.add_flag("--plain-http", options.plain_http_all,
               "The image's registry has no TLS (loopback needs no flag)");
  app.add_option("--plain-http-registry", options.plain_http,
                 "A registry without TLS: host[:port]");
  app.add_option("--ca-file", options.ca_file, "PEM file with more certificate authorities");
  app.add_option("--docker-config", options.docker_config_dir,
                 "Directory of docker's config.json (default: $DOCKER_CONFIG, ~/.docker)");
  app.add_option("--log-level", options.log_level, "debug, info, warning or error")
      ->capture_default_str();
  app.add_flag("--json", options.json, "Results for programs: index, convert, status, doctor");
}

/// CLI11 throws for --help and for mistakes alike; only the latter are errors.
int ReportParseError(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
    return app.exit(error);
  }
  fmt::print(stderr, "floe: {} (floe --help)\n", error.what());
  return kExitUsage;
}

int Run(int argc, char** argv) {
  CLI::App app{"Floe: images that start before they are downloaded"};
  app.set_version_flag("--version", std::string("floe ") + FLOE_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done; 1 failed, the reason stands in one line on standard error; 2 wrong "
      "command line.");
  GlobalOptions options;
  Selection selection;
  AddGlobalOptions(app, options);
  AddIndexCommands(app, options, selection);
  AddConvertCommand(app, options, selection);
  AddPullCommand(app, options, selection);
  AddMountCommands(app, options, selection);
  AddStatusCommand(app, options, selection);
  AddDoctorCommand(app, options, selection);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return ReportParseError(app, error);
  }
  const auto level = ParseLogLevel(options.log_level);
  InitLogging("floe", level.value_or(LogLevel::kWarning));
  const auto done = level.has_value() ? selection.body() : Result<void>(level.error());
  if (!done.has_value()) {
    fmt::print(stderr, "floe: {}\n", done.error().message);
    return kExitFailed;
  }
  return kExitOk;
}

}  // namespace
}  // namespace floe::cli

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  return floe::cli::Run(argc, argv);
}
