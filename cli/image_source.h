#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/command.h"
#include "fetcher/reference.h"
#include "fetcher/registry_client.h"
#include "image/manifest.h"
#include "prepare/image_resolver.h"

namespace floe::cli {

/// The image that a command line names.
struct ImageSource {
  std::string reference;
  std::string platform;  ///< "linux/arm64"; empty: this machine's.

  /// Adds REF and --platform. This object must outlive the parsing.
  void AddTo(CLI::App& command);

  /// What the command line said, parsed; nothing was asked of the registry yet.
  struct Target {
    std::unique_ptr<fetcher::RegistryClient> registry;
    fetcher::Reference reference;
    image::Platform platform;
  };
  [[nodiscard]] Result<Target> Locate(const GlobalOptions& options) const;
};

/// One label a layer, for ProgressBars.
std::vector<std::string> LayerLabels(const prepare::ResolvedImage& image);

}  // namespace floe::cli
