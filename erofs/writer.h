#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/layer_index.h"

/// The EROFS on-disk format: Linux fs/erofs/erofs_fs.h; the fields are described in
/// docs/formats.md.
namespace floe::erofs {

/// One layer of a merge. The index must outlive the call.
struct MergeLayer {
  const image::LayerIndex* index = nullptr;
  /// 64 hex digits for each blob of the index: the device key (image/blob_map.h).
  std::vector<std::string> device_tags;
};

/// What becomes of whiteouts and opaque directories that the run itself does not consume.
enum class WhiteoutForm : uint8_t {
  kApply,    ///< The bottom run: nothing is below, they disappear.
  kOverlay,  ///< A run on other lowerdirs: 0/0 character devices and trusted.overlay.opaque="y".
};

struct WriteOptions {
  WhiteoutForm whiteouts = WhiteoutForm::kApply;
};

/// An extra device of the bootstrap, in slot order: slot i is device_id i + 1 and the i-th device=
/// option.
struct BootstrapDevice {
  uint32_t layer = 0;  ///< Into the layers of the merge.
  uint32_t blob = 0;   ///< Into that layer's blobs.
  std::string tag;
  uint64_t size_bytes = 0;  ///< Multiple of 4096.
};

struct Bootstrap {
  std::string bytes;                     ///< The whole image file: metadata only, padded to 4096.
  std::vector<BootstrapDevice> devices;  ///< Only blobs that the merged tree still refers to.
  uint64_t inode_count = 0;
  /// kOverlay: directories ("usr/lib") that no layer of the run holds but whose metadata a lower
  /// directory of the same path decides, as containerd copies it. Here they are 0755 root, and
  /// overlayfs would show that: the caller finds their metadata by other means or does without
  /// laziness. A path that is absent below is right as it is.
  std::vector<std::string> unresolved_implied;
  /// Names of xattrs that were left out, as containerd's unpacking leaves them out: namespaces that
  /// no kernel stores (com.apple.provenance), user.* on what is neither file nor directory,
  /// trusted.overlay.*. Each once, at most 64; for a log line.
  std::vector<std::string> skipped_xattrs;
};

/// Merges layers bottom to top and writes one bootstrap: extended inodes, nanosecond mtimes, inline
/// and shared xattrs, chunk-based files with 8-byte chunk indexes, one extra device per referenced
/// blob, superblock checksum. Byte-for-byte reproducible for equal input. InvalidArgument when the
/// merged tree cannot be written (more than 65535 devices, a directory tree deeper than
/// kMaxTreeDepth, ...).
///
/// Merging follows containerd's overlayfs: an upper non-directory replaces, an upper directory
/// merges and overrides the metadata of a lower directory unless it is implied, an implied
/// directory over nothing is 0755 root, over a lower non-directory it replaces it; whiteouts
/// remove; opaque directories hide; hard links stay within their layer.
Result<Bootstrap> WriteBootstrap(std::span<const MergeLayer> bottom_to_top,
                                 const WriteOptions& options);

}  // namespace floe::erofs
