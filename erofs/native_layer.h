#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "erofs/image_bytes.h"
#include "erofs/native_tree.h"
#include "image/layer_index.h"
#include "image/layer_layout.h"

namespace floe::erofs {

/// The index of a native EROFS layer. `archive`: units whose decoded outputs, end to end, are the
/// image. The device holds the contents of files in the image's order, each from a block boundary;
/// nothing of the image's metadata. `wrapping`: "" or "+zstd", for LayerIndexData::producer.
/// `placements`, if not null, gets where on the device each run of the image goes.
Result<image::LayerIndex> MakeNativeIndex(const NativeTree& tree, image::SourceBlob blob,
                                          const image::ArchiveMap& archive, const Digest& diff_id,
                                          std::string_view wrapping,
                                          std::vector<image::Placement>* placements = nullptr);

/// The same from the metadata alone, for an image that is the blob as it is: units of span_bytes
/// (1..kMaxUnitBytes) of the blob, groups that nothing vouches for (DigestKind::kNone).
Result<image::LayerIndex> MakeUnverifiedIndex(ImageBytes& image, image::SourceBlob blob,
                                              uint64_t span_bytes);

}  // namespace floe::erofs
