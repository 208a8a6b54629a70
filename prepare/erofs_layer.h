#pragma once

#include "base/result.h"
#include "image/manifest.h"
#include "prepare/layer_reader.h"

/// Native EROFS layers without an index of their own.
namespace floe::prepare {

bool IsErofsLayer(const image::Descriptor& layer);

/// Reads the metadata of a native EROFS layer by ranges. Nothing in the image says what its blocks
/// must hash to: the groups have no digest, so this is done only where the context allows
/// unverified layers, else FailedPrecondition. The index's origin is kRepository, the least that
/// there is. Errors as of all readers; ResourceExhausted when the metadata is so scattered that
/// reading it would take several times the layer's size.
Result<ReadLayer> ReadErofsLayerUnverified(const LayerContext& context);

}  // namespace floe::prepare
