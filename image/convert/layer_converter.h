#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "base/result.h"
#include "image/convert/seekable_writer.h"
#include "image/layer_indexer.h"

namespace floe::image {

struct ConvertOptions {
  SeekableOptions seekable;
  /// Refuse archives whose decoded size exceeds this (bombs) ...
  uint64_t max_decoded_bytes = IndexerOptions{}.max_decoded_bytes;
  /// ... or this many times the compressed size once more than 1 GiB has been decoded.
  uint64_t max_ratio = IndexerOptions{}.max_ratio;
};

struct ConvertedLayer {
  SeekableBlob blob;
  Digest source_diff_id;  ///< Computed; blob.diff_id differs for kEStargz only.
};

/// Rewrites one tar, tar+gzip or tar+zstd layer in one pass, from bytes as they are downloaded.
/// Feed all bytes in order, then Finish; what the sink got is good only when Finish succeeds. One
/// thread at a time; memory as SeekableWriter's. Errors are one line that names the layer's digest:
/// InvalidArgument for archives that containerd would refuse, DataLoss for bytes that do not match
/// digest, size or diff ID, Unimplemented for what a table of contents cannot describe.
class LayerConverter {
 public:
  static Result<std::unique_ptr<LayerConverter>> Create(LayerSource source,
                                                        const ConvertOptions& options,
                                                        BlobSink sink);
  virtual ~LayerConverter() = default;
  virtual Result<void> Feed(std::span<const std::byte> bytes) = 0;
  virtual Result<ConvertedLayer> Finish() = 0;
};

}  // namespace floe::image
