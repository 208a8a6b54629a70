#pragma once

#include "image/layer_index.h"
#include "image/rafs/tree_reader.h"

namespace floe::image::rafs {

/// The units of what the bootstrap's prefetch table lists, each once and in the order of the list:
/// of files, and of all files below directories. The root is passed over: it is what converters
/// write where nobody chose a list, and to fetch the whole image at every mount is not laziness.
/// So is what it lists beyond that (inodes that a merge dropped): it is a hint.
/// `data` is otherwise complete.
void AddPrefetch(Bytes bootstrap, const Superblock& superblock, const TreeReader& tree,
                 LayerIndexData& data);

}  // namespace floe::image::rafs
