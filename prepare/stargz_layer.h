#pragma once

#include "base/result.h"
#include "image/manifest.h"
#include "prepare/layer_reader.h"

namespace floe::prepare {

/// Whether the manifest says that the layer is eStargz or zstd:chunked.
bool IsStargzLayer(const image::Descriptor& layer);

/// Reads the table of contents of an eStargz or zstd:chunked layer: from its annotated position
/// (one request), else by the footer (the last 64 KiB of the blob, and one more request for what
/// of the table lies before them), or from the TOC image REPOSITORY:TAG-esgztoc that a footer
/// refers to. The digests that the manifest annotates are checked, so the origin is kBound.
/// Errors, besides those of LayerContext and the registry: FailedPrecondition, the manifest does
/// not vouch for the table, chunk digests are missing, or the TOC image is not to be found.
Result<ReadLayer> ReadStargzLayer(const LayerContext& context);

}  // namespace floe::prepare
