#pragma once

#include "base/result.h"
#include "image/layer_index.h"

namespace floe::index::v1 {
class LayerIndex;
}  // namespace floe::index::v1

namespace floe::image {

// LayerIndex to columns and back (proto/floe/index/v1/index.proto, docs/formats.md).

inline constexpr uint32_t kIndexVersion = 1;
inline constexpr uint32_t kBitsPerCodec = 8;  ///< unit_codec_bits = codec * kBitsPerCodec + bits.

/// ResourceExhausted when it has more of something than the format can say.
Result<void> IndexToProto(const LayerIndex& index, floe::index::v1::LayerIndex& to);

/// InvalidArgument: another version; DataLoss: columns that do not fit each other. The result is
/// not validated: LayerIndex::Create does that.
Result<LayerIndexData> IndexFromProto(const floe::index::v1::LayerIndex& from);

}  // namespace floe::image
