#include "cli/image_source.h"

#include <optional>

#include <CLI/CLI.hpp>

namespace floe::cli {

void ImageSource::AddTo(CLI::App& command) {
  command.add_option("ref", reference, "Image reference")->required()->type_name("REF");
  command.add_option("--platform", platform, "os/architecture[/variant]; default: this host");
}

Result<ImageSource::Opened> ImageSource::Open(const GlobalOptions& options,
                                              Deadline deadline) const {
  FLOE_ASSIGN_OR_RETURN(const auto parsed, fetcher::Reference::Parse(reference));
  image::Platform wanted = image::Platform::Host();
  if (!platform.empty()) {
    FLOE_ASSIGN_OR_RETURN(wanted, image::Platform::Parse(platform));
  }
  Opened opened;
  FLOE_ASSIGN_OR_RETURN(opened.registry, MakeRegistryClient(options, parsed.repository.registry));
  FLOE_ASSIGN_OR_RETURN(opened.image, prepare::ResolveImage(*opened.registry, parsed, std::nullopt,
                                                            wanted, deadline));
  return opened;
}

}  // namespace floe::cli
