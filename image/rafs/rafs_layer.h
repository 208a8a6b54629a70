#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/layer_index.h"
#include "image/rafs/blob_table.h"
#include "image/rafs/chunk_info.h"

namespace floe::image::rafs {

/// The parts of a bootstrap that say what else is needed to read it.
struct Bootstrap {
  Superblock superblock;
  std::vector<Blob> blobs;
};

/// See ReadSuperblock and ReadBlobs.
Result<Bootstrap> ReadBootstrap(Bytes bytes);

/// What the image's manifest and its blob.meta files add to Bootstrap::blobs[i].
struct BlobSource {
  uint64_t size_bytes = 0;  ///< Of the registry object.
  std::string media_type;
  /// Needed for blobs with batches or zran contexts. Where it is given it must agree with the
  /// chunk table.
  std::optional<ChunkInfo> chunk_info;
};

struct RafsLayer {
  /// A whole image: data().blobs are Bootstrap::blobs in their order, also those that no file uses
  /// (any more); these have no units and no device.
  LayerIndex index;
  std::vector<std::string> windows;  ///< One a blob; empty where there are none.
};

/// The image as one LayerIndex: devices as RAFS lays them out (chunks at their uncompressed
/// offsets), each chunk that a file uses a group with its digest. `bytes` is what `bootstrap` was
/// read from; `sources` are as many as its blobs. DataLoss, Unimplemented: as the readers of the
/// parts say; each message says where in the bootstrap.
Result<RafsLayer> ReadRafsLayer(Bytes bytes, const Bootstrap& bootstrap,
                                const std::vector<BlobSource>& sources);

}  // namespace floe::image::rafs
