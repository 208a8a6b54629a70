#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "image/blob_map.h"

namespace floe::image {

/// DataLoss unless the group's digest is that of the bytes it speaks of: of `decoded`, the group's
/// own decoded bytes, or of `compressed`, exactly the compressed bytes of its unit
/// (image::DigestKind). A group without a digest is taken as it is. Any thread.
Result<void> CheckGroupDigest(const GroupView& group, std::span<const std::byte> decoded,
                              std::span<const std::byte> compressed);

}  // namespace floe::image
