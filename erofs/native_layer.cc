#include "erofs/native_layer.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/check.h"

namespace floe::erofs {

Result<image::LayerIndex> MakeNativeIndex(const NativeTree& tree, image::SourceBlob blob,
                                          const image::ArchiveMap& archive, const Digest& diff_id,
                                          std::string_view wrapping,
                                          std::vector<image::Placement>* placements) {
  FLOE_ASSIGN_OR_RETURN(
      image::LayerIndexData data,
      image::LayOutLayer(tree.tree, tree.fragments, std::move(blob), archive, placements));
  data.diff_id = diff_id;
  data.producer = fmt::format("floe {} erofs{}", FLOE_VERSION, wrapping);
  return image::LayerIndex::Create(std::move(data));
}

Result<image::LayerIndex> MakeUnverifiedIndex(ImageBytes& image, image::SourceBlob blob,
                                              uint64_t span_bytes) {
  FLOE_CHECK(span_bytes > 0 && span_bytes <= image::kMaxUnitBytes);
  const NativeTreeLimits limits;
  const uint64_t size = image.size_bytes();
  if (size > limits.max_file_bytes) {
    return InvalidArgument("an image of {} bytes, at most {}", size, limits.max_file_bytes);
  }
  FLOE_ASSIGN_OR_RETURN(const NativeTree tree, ReadNativeTree(image, limits));
  std::vector<image::Unit> units;
  std::vector<image::Group> groups;
  for (uint64_t at = 0; at < size; at += span_bytes) {
    const uint64_t length = std::min(span_bytes, size - at);
    groups.push_back({.unit = static_cast<uint32_t>(units.size()),
                      .in_unit = {.offset = 0, .length = length},
                      .digest_kind = image::DigestKind::kNone});
    units.push_back({.blob = 0,
                     .range = {.offset = at, .length = length},
                     .decoded_length = length,
                     .codec = image::Codec::kPlain,
                     .window = {}});
  }
  const Digest diff_id = blob.digest;
  return MakeNativeIndex(tree, std::move(blob), {.units = units, .groups = groups}, diff_id, "");
}

}  // namespace floe::erofs
