#pragma once

#include "base/result.h"
#include "image/layer_index.h"

namespace floe::image {

// The two halves of LayerIndex::Create; each in time linear in the data. DataLoss says what is
// wrong and at which index. The blobs come first: the tree's segments refer to them.

/// Blobs, units, groups and extents.
Result<void> ValidateBlobs(const LayerIndexData& data);

/// The units, groups and extents of one blob, wherever they are kept, by the numbers that its
/// first_* and *_count span.
class BlobRecords {
 public:
  virtual ~BlobRecords() = default;
  [[nodiscard]] virtual Unit unit(size_t number) const = 0;
  [[nodiscard]] virtual Group group(size_t number) const = 0;
  [[nodiscard]] virtual Extent extent(size_t number) const = 0;
};
/// All rules for one blob but where its records lie in their arrays. `number`: what its units say.
Result<void> ValidateBlob(const SourceBlob& blob, uint32_t number, const BlobRecords& records);

/// Strings, inodes, dirents, segments and xattrs; the tree's shape.
Result<void> ValidateTree(const LayerIndexData& data);

/// [first, first + count) lies in an array of `size`.
inline bool InArray(uint32_t first, uint32_t count, size_t size) {
  return first <= size && count <= size - first;
}
/// The string lies in the pool.
inline bool InPool(StringRef ref, const LayerIndexData& data) {
  return ref.offset <= data.strings.size() && ref.length <= data.strings.size() - ref.offset;
}

}  // namespace floe::image
