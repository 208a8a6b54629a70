#include "image/unit_windows.h"

#include "base/digest.h"

namespace floe::image {

std::string KeepWindows(std::string_view windows, LayerIndexData& data) {
  std::string kept;
  for (Unit& unit : data.units) {
    if (!unit.window.empty()) {
      const uint64_t offset = kept.size();
      kept.append(windows.substr(unit.window.offset, unit.window.length));
      unit.window.offset = offset;
    }
  }
  if (!kept.empty()) {
    data.blobs.front().windows_digest = Digest::Of(kept);
    data.blobs.front().windows_size_bytes = kept.size();
  }
  return kept;
}

}  // namespace floe::image
