#include "prepare/layer_streams.h"

#include <map>
#include <utility>

#include "base/log.h"
#include "prepare/index_store.h"
#include "prepare/kept_layers.h"
#include "prepare/parallel.h"

namespace floe::prepare {
namespace {

// The bottom layers of an image are the large ones; more at a time only share the link.
constexpr size_t kParallelStreams = 4;

// The first position of each layer that has no index.
std::vector<size_t> MissingLayers(const IndexedImage& image) {
  std::map<Digest, size_t> missing;
  std::vector<size_t> positions;
  for (size_t i = 0; i < image.layers.size(); ++i) {
    if (image.layers[i].index == nullptr &&
        missing.emplace(image.image.manifest.layers[i].digest, i).second) {
      positions.push_back(i);
    }
  }
  return positions;
}

Result<LayerWithIndex> Keep(const IndexStore& store, StreamedLayer streamed,
                            const std::string& why_not, const image::Descriptor& layer,
                            const Digest& diff_id) {
  StoredTree tree;
  tree.bytes = std::move(streamed.tree);
  tree.reader = kStreamReader;
  tree.why_not = why_not;
  if (!streamed.windows.empty()) {
    tree.windows = ArtifactObject{Digest::Of(streamed.windows), streamed.windows.size()};
    tree.local_windows = true;
  }
  FLOE_ASSIGN_OR_RETURN(LayerWithIndex decoded,
                        DecodeTree(tree, IndexStore::LocalScope(), layer, diff_id));
  FLOE_RETURN_IF_ERROR(store.PutWindows(streamed.windows));
  FLOE_RETURN_IF_ERROR(store.Put(IndexStore::LocalScope(), layer.digest, tree));
  return decoded;
}

}  // namespace

bool CanStream(const image::Descriptor& layer) {
  return image::IsTarLayerMediaType(layer.media_type) ||
         image::IsErofsLayerMediaType(layer.media_type);
}

Result<void> StreamMissingLayers(LayerStreamer& streamer, IndexedImage& image,
                                 const std::string& store_dir,
                                 const StreamProgressFn& on_progress) {
  const IndexStore store(store_dir);
  const ResolvedImage& resolved = image.image;
  const std::vector<size_t> missing = MissingLayers(image);
  std::vector<LayerWithIndex> streamed(missing.size());
  FLOE_RETURN_IF_ERROR(ForEachParallel(
      missing.size(), kParallelStreams,
      [&](size_t i, const std::atomic<bool>& failed) -> Result<void> {
        const size_t position = missing[i];
        const image::Descriptor& layer = resolved.manifest.layers[position];
        const Digest& diff_id = resolved.config.diff_ids[position];
        LogInfo("layer is streamed layer={} ref={} reason=\"{}\"", layer.digest.ToString(),
                resolved.reference.ToString(), image.layers[position].why_not);
        auto result = streamer.StreamLayer(
            {resolved.reference.repository, layer, diff_id},
            [&](uint64_t bytes) {
              if (on_progress) {
                on_progress(position, bytes);
              }
            },
            &failed);
        if (!result) {
          return WithContext(std::move(result).error(), "stream layer " + layer.digest.ToString());
        }
        FLOE_ASSIGN_OR_RETURN(streamed[i], Keep(store, std::move(result).value(),
                                                image.layers[position].why_not, layer, diff_id));
        return Ok();
      }));
  for (size_t i = 0; i < missing.size(); ++i) {
    const Digest& digest = resolved.manifest.layers[missing[i]].digest;
    for (size_t position = 0; position < image.layers.size(); ++position) {
      if (resolved.manifest.layers[position].digest == digest) {
        image.layers[position] = streamed[i];
      }
    }
  }
  return Ok();
}

}  // namespace floe::prepare
