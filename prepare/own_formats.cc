#include "prepare/own_formats.h"

#include "prepare/kept_layers.h"

namespace floe::prepare {

OwnFormats::OwnFormats(const ResolvedImage& image, bool allow_unverified)
    : image_(image), allow_unverified_(allow_unverified) {}

bool OwnFormats::is_indivisible() const { return false; }

std::vector<OwnFormat> OwnFormats::Of(size_t position) const {
  std::vector<OwnFormat> formats;
  (void)position;
  (void)allow_unverified_;
  (void)image_;
  return formats;
}

}  // namespace floe::prepare
