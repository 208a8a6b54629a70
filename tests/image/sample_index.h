#pragma once

#include <random>

#include "image/layer_index.h"

namespace floe::image {

/// A small valid index with every kind of thing in it: two blobs (gzip with windows and a shared
/// byte; zstd with two groups), directories, a file of two segments, a hard link, a symlink, a
/// device, xattrs, a whiteout, an opaque and an implied directory. The numbers of its rows are what
/// the tests of LayerIndex::Create break.
LayerIndexData SampleIndexData();

/// A valid index of a made-up tar layer with about `files` files, in archive order, with spans of
/// `span_bytes`. `random` decides everything.
LayerIndexData RandomIndexData(std::mt19937_64& random, size_t files, uint64_t span_bytes);

/// Equal as trees and blobs, wherever strings and rows lie in their arrays.
void ExpectSameIndex(const LayerIndex& actual, const LayerIndex& expected);

}  // namespace floe::image
