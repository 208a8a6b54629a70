#pragma once

#include <span>

#include "base/result.h"
#include "image/layer_indexer.h"
#include "image/soci/soci_prefetch.h"
#include "image/soci/ztoc.h"

namespace floe::image {

/// What the SOCI index says about the layer beside its ztoc.
struct ZtocLayerOptions {
  bool disable_xattrs = false;  ///< Leave all extended attributes out.
  /// Becomes LayerIndexData::prefetch, without the spans that no file draws from.
  std::span<const SociSpanRun> prefetch = {};
};

/// The index of a layer that has a ztoc: one unit and one group for each span that a visible file
/// draws from, verified by the digest of its compressed bytes. `source` is what the manifest and
/// the config say; its diff ID is taken as it is. The windows are made from those of the ztoc.
/// DataLoss: the ztoc is of a layer of another size, or lies, or has not the spans to prefetch;
/// InvalidArgument: what containerd would not unpack; Unimplemented: sparse files (a ztoc does not
/// say where their holes are), and spans larger than a unit can be.
Result<IndexedLayer> IndexZtocLayer(const Ztoc& ztoc, const LayerSource& source,
                                    const ZtocLayerOptions& options = {});

}  // namespace floe::image
