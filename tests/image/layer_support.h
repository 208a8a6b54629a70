#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/layer_indexer.h"

namespace floe::image {

/// What an honest manifest says about these bytes.
LayerSource SourceOf(std::string_view blob);

/// Feeds `blob` in pieces of `step` bytes.
Result<IndexedLayer> IndexBlob(std::string_view blob, const LayerSource& source,
                               IndexerOptions options = {}, size_t step = 1U << 16U);

/// The device of the layer's blob as the fill path would make it: fetches and decodes each unit,
/// checks each group's digest, copies its extents. What no extent covers is zero.
Result<std::string> FillDevice(const IndexedLayer& layer, std::string_view blob);

}  // namespace floe::image
