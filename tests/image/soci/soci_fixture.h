#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/layer_indexer.h"
#include "image/soci/soci_index.h"

namespace floe::image {

/// fixtures/images: what other programs made.
inline const std::filesystem::path kSociFixtures = FLOE_SOURCE_DIR "/../shared/fixtures/images";

/// A layer of fixtures/images/oci and its ztoc in one of the SOCI fixtures.
struct SociFixtureLayer {
  LayerSource source;
  std::string blob;
  std::string ztoc;
};

struct SociFixture {
  SociIndex index;
  std::vector<SociFixtureLayer> layers;  ///< Bottom first.
};

/// `name`: "soci-v2" or "soci-index".
Result<SociFixture> ReadSociFixture(const std::string& name);

}  // namespace floe::image
