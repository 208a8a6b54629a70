#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "image/content_sink.h"
#include "image/layer_index.h"
#include "image/layer_layout.h"

namespace floe::image {

/// What the caller knows about the layer before its bytes come.
struct LayerSource {
  Digest digest;            ///< Of the compressed blob; checked at the end.
  uint64_t size_bytes = 0;  ///< Checked at the end.
  std::string media_type;   ///< OCI or docker layer media type; the bytes decide the compression.
  Digest diff_id;           ///< Zero: not known. Else checked at the end.
};

struct IndexerOptions {
  /// Target of decoded bytes per unit for plain and gzip layers; a checkpoint is put at the first
  /// deflate block boundary at or after it. The default is the measured best (docs/performance.md).
  uint64_t span_bytes = 256U << 10U;
  /// Refuse archives whose decoded size exceeds this (gzip bombs) ...
  uint64_t max_decoded_bytes = 1ULL << 40U;
  /// ... or this many times the compressed size once more than 1 GiB has been decoded.
  uint64_t max_ratio = 1200;
  /// Gets the files' contents in the same pass; must outlive the indexer. Null: nobody wants them.
  ContentSink* contents = nullptr;
  /// Decodes on the thread that feeds and does the rest on one of its own ("index").
  bool pipelined = false;
};

/// The result of indexing one layer.
struct IndexedLayer {
  LayerIndex index;
  std::string windows;  ///< The windows part (may be empty); index.data().blobs[0] has its digest.
  /// With IndexerOptions::contents: where on the device the contents of the files that are left
  /// lie, by archive offset. A run is one of those that ContentSink::OnFile was told.
  std::vector<Placement> placements = {};
};

/// Indexes one tar, tar+gzip or tar+zstd layer in one pass, from bytes as they are downloaded.
/// Feed all bytes in order, then Finish. One thread at a time. Memory: bounded by one span and the
/// index (and ScanPipeline's batches). Errors are one line that names the layer's digest and the
/// reason: InvalidArgument for archives that containerd would refuse or that Floe does not take,
/// DataLoss for bytes that do not match, Unimplemented for what cannot be lazy (a deflate block
/// larger than kMaxUnitBytes, a zstd frame with too large a window).
class LayerIndexer {
 public:
  static Result<std::unique_ptr<LayerIndexer>> Create(LayerSource source,
                                                      IndexerOptions options = {});
  virtual ~LayerIndexer() = default;
  virtual Result<void> Feed(std::span<const std::byte> bytes) = 0;
  virtual Result<IndexedLayer> Finish() = 0;
};

}  // namespace floe::image
