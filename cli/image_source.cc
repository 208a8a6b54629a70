#include "cli/image_source.h"

#include <CLI/CLI.hpp>

namespace floe::cli {

void ImageSource::AddTo(CLI::App& command) {
  command.add_option("ref", reference, "Image reference")->required()->type_name("REF");
  command.add_option("--platform", platform,
                     "os[(+feature)]/architecture[/variant]; default: this host");
}

Result<ImageSource::Target> ImageSource::Locate(const GlobalOptions& options) const {
  Target target;
  FLOE_ASSIGN_OR_RETURN(target.reference, fetcher::Reference::Parse(reference));
  target.platform = image::Platform::Host();
  if (!platform.empty()) {
    FLOE_ASSIGN_OR_RETURN(target.platform, image::Platform::Parse(platform));
  }
  FLOE_ASSIGN_OR_RETURN(target.registry,
                        MakeRegistryClient(options, target.reference.repository.registry));
  return target;
}

std::vector<std::string> LayerLabels(const prepare::ResolvedImage& image) {
  constexpr size_t kShortDigest = 12;
  std::vector<std::string> labels;
  labels.reserve(image.manifest.layers.size());
  for (const image::Descriptor& layer : image.manifest.layers) {
    labels.push_back("layer " + layer.digest.hex().substr(0, kShortDigest));
  }
  return labels;
}

}  // namespace floe::cli
