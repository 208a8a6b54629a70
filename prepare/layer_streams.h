#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "fetcher/reference.h"
#include "image/manifest.h"
#include "prepare/image_resolver.h"

/// Layers without any index are streamed: read once as a whole by the cache manager, which indexes,
/// verifies and caches them in that one pass.
namespace floe::prepare {

/// A layer that can be streamed and indexed: a tar, compressed or not, or an EROFS image.
bool CanStream(const image::Descriptor& layer);

struct StreamCall {
  fetcher::Repository source;
  image::Descriptor layer;
  Digest diff_id;
};
/// What a pass over a layer leaves besides its contents in the cache.
struct StreamedLayer {
  std::string tree;     ///< image::EncodeLayerIndex.
  std::string windows;  ///< May be empty.
};

/// Who streams layers: the cache manager. Thread-safe; blocking. `on_progress` (may be empty) gets
/// the bytes that have been read of the layer, on the calling thread. `cancel` (may be null): gives
/// up with Cancelled soon after it has become true.
class LayerStreamer {
 public:
  using ProgressFn = std::function<void(uint64_t bytes_done)>;
  virtual ~LayerStreamer() = default;
  /// DataLoss: the layer's bytes are not those of its digest or diff ID.
  virtual Result<StreamedLayer> StreamLayer(const StreamCall& call, const ProgressFn& on_progress,
                                            const std::atomic<bool>* cancel) = 0;
};

/// Told of every layer's progress, on several threads: its position and the bytes read of it.
using StreamProgressFn = std::function<void(size_t position, uint64_t bytes_done)>;

/// Streams each distinct layer of the image that has no index, all at the same time, keeps what
/// comes out in `store_dir` as an index of this node's own, and completes the image. The first
/// error ends all.
Result<void> StreamMissingLayers(LayerStreamer& streamer, IndexedImage& image,
                                 const std::string& store_dir,
                                 const StreamProgressFn& on_progress = {});

}  // namespace floe::prepare
