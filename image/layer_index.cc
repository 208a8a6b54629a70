#include "image/layer_index.h"

#include <utility>

#include "image/layer_index_validation.h"

namespace floe::image {

Result<LayerIndex> LayerIndex::Create(LayerIndexData data) {
  FLOE_RETURN_IF_ERROR(ValidateBlobs(data));
  FLOE_RETURN_IF_ERROR(ValidateTree(data));
  return LayerIndex(std::move(data));
}

}  // namespace floe::image
