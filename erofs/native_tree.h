#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "erofs/image_bytes.h"
#include "image/layer_tree.h"
#include "image/tar_reader.h"

namespace floe::erofs {

/// What an image may make a reader keep, and a node store: its metadata can name the same bytes
/// many times.
struct NativeTreeLimits {
  uint64_t max_file_bytes = 1ULL << 40U;     ///< Of all regular files together, without holes ...
  uint64_t max_ratio = 1200;                 ///< ... or so many times the image, once they are
  uint64_t ratio_free_bytes = 1ULL << 30U;   ///< more than this.
  size_t max_pieces = 32U << 20U;            ///< Runs of bytes that they are made of.
  uint64_t max_xattr_bytes = 256ULL << 20U;  ///< Names and values of all inodes together.
};

/// The tree of an EROFS layer image. The fragments that its nodes refer to lie in the image:
/// TarFragment::archive_offset is an offset in it. Nodes of regular files are numbered in the order
/// in which their data lies there.
struct NativeTree {
  image::LayerTree tree;
  std::vector<image::TarFragment> fragments;
};

/// Reads a whole image and checks it as a whole: no directory is reached twice, "." and ".." are
/// right, names are sorted and unique, dirents tell the type of their inode, no metadata lies where
/// other metadata does. Link counts are counted anew.
///
/// Whiteouts are what overlayfs takes for them, as mkfs.erofs --aufs writes them: a 0/0 character
/// device becomes LayerTree::kWhiteout, trusted.overlay.opaque="y" the flag kInodeOpaque. Of the
/// other trusted.overlay.* attributes those that would show another file's content or hide more are
/// Unimplemented, the rest are left out. The root has the metadata that the image gives it.
///
/// Errors are NativeReader's, prefixed with the path; InvalidArgument: more than the limits or the
/// model can hold.
Result<NativeTree> ReadNativeTree(ImageBytes& image, const NativeTreeLimits& limits = {});

}  // namespace floe::erofs
