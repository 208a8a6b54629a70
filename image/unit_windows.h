#pragma once

#include <string>
#include <string_view>

#include "image/layer_index.h"

namespace floe::image {

/// What a layout kept of the inflate windows: takes those of data.units out of `windows`, which
/// their `window` ranges point into, lays them back to back in unit order, points the units to
/// where they lie then, and writes digest and size into the blob. For data with one blob.
std::string KeepWindows(std::string_view windows, LayerIndexData& data);

}  // namespace floe::image
