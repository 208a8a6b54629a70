#pragma once

#include "cli/command.h"

/// The sub-commands of `floe` beside `index` (command.h), and where they look by default.
namespace floe::cli {

inline constexpr const char* kDefaultContainerdSocket = "/run/containerd/containerd.sock";
inline constexpr const char* kDefaultCachemgrSocket = "/run/floe/cachemgr.sock";

void AddConvertCommand(CLI::App& app, GlobalOptions& options, Selection& selection);
void AddPullCommand(CLI::App& app, GlobalOptions& options, Selection& selection);
/// mount and unmount.
void AddMountCommands(CLI::App& app, GlobalOptions& options, Selection& selection);
void AddStatusCommand(CLI::App& app, GlobalOptions& options, Selection& selection);
void AddDoctorCommand(CLI::App& app, GlobalOptions& options, Selection& selection);

}  // namespace floe::cli
