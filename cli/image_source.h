#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "cli/command.h"
#include "fetcher/registry_client.h"
#include "prepare/image_resolver.h"

namespace floe::cli {

/// The image that a command line names.
struct ImageSource {
  std::string reference;
  std::string platform;  ///< "linux/arm64"; empty: this machine's.

  /// Adds REF and --platform. This object must outlive the parsing.
  void AddTo(CLI::App& command);

  struct Opened {
    std::unique_ptr<fetcher::RegistryClient> registry;
    prepare::ResolvedImage image;
  };
  /// Asks the registry for manifest and config.
  [[nodiscard]] Result<Opened> Open(const GlobalOptions& options, Deadline deadline) const;
};

}  // namespace floe::cli
