#include "prepare/index_publisher.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <utility>

#include "base/file.h"
#include "base/quote.h"
#include "image/index_codec.h"
#include "prepare/index_artifact.h"
#include "prepare/index_store.h"
#include "prepare/layer_indexers.h"
#include "prepare/parallel.h"

namespace floe::prepare {
namespace {

constexpr std::string_view kManifestMediaType = "application/vnd.oci.image.manifest.v1+json";
constexpr size_t kParallelPushes = 4;
constexpr std::string_view kIndexMediaType = "application/vnd.oci.image.index.v1+json";

// What one layer's indexing leaves: the objects to push and their description.
struct LayerObjects {
  std::string tree, windows;
  PublishedLayer published;
};

// The layers of the image, each once, in manifest order; with the first position of each.
std::vector<size_t> DistinctLayers(const ResolvedImage& image) {
  std::map<Digest, size_t> seen;
  std::vector<size_t> positions;
  for (size_t i = 0; i < image.manifest.layers.size(); ++i) {
    if (seen.emplace(image.manifest.layers[i].digest, i).second) {
      positions.push_back(i);
    }
  }
  return positions;
}

Result<LayerObjects> IndexOneLayer(fetcher::RegistryClient& client, const ResolvedImage& image,
                                   size_t position, const PublishOptions& options,
                                   const ProgressFn& progress, const std::atomic<bool>& failed,
                                   Deadline deadline) {
  const image::Descriptor& layer = image.manifest.layers[position];
  FLOE_ASSIGN_OR_RETURN(std::unique_ptr<image::LayerIndexer> indexer,
                        CreateLayerIndexer({layer.digest, layer.size_bytes, layer.media_type,
                                            image.config.diff_ids[position]},
                                           options.indexer, options.spool_dir));
  Progress state{static_cast<uint32_t>(position), 0, layer.size_bytes};
  FLOE_RETURN_IF_ERROR(client.StreamBlob(
      image.reference.repository, layer.digest, layer.size_bytes,
      [&](std::span<const std::byte> bytes) -> Result<void> {
        if (failed.load()) {
          return Cancelled("another layer failed");
        }
        FLOE_RETURN_IF_ERROR(indexer->Feed(bytes));
        state.bytes_done += bytes.size();
        if (progress) {
          progress(state);
        }
        return Ok();
      },
      deadline));
  FLOE_ASSIGN_OR_RETURN(image::IndexedLayer indexed, indexer->Finish());
  LayerObjects objects;
  FLOE_ASSIGN_OR_RETURN(objects.tree, image::EncodeLayerIndex(indexed.index));
  objects.windows = std::move(indexed.windows);
  const image::LayerIndexData& data = indexed.index.data();
  PublishedLayer& published = objects.published;
  published.layer = layer.digest;
  published.tree = Digest::Of(objects.tree);
  published.windows = data.blobs[0].windows_digest;
  published.compressed_bytes = layer.size_bytes;
  published.tree_bytes = objects.tree.size();
  published.windows_bytes = objects.windows.size();
  published.device_bytes = data.blobs[0].device_size_bytes;
  published.units = static_cast<uint32_t>(data.units.size());
  published.inodes = static_cast<uint32_t>(data.inodes.size());
  return objects;
}

// Indexes every distinct layer, some at a time.
Result<std::vector<LayerObjects>> IndexLayers(fetcher::RegistryClient& client,
                                              const ResolvedImage& image,
                                              const PublishOptions& options,
                                              const ProgressFn& progress, Deadline deadline) {
  const std::vector<size_t> positions = DistinctLayers(image);
  std::vector<LayerObjects> layers(positions.size());
  FLOE_RETURN_IF_ERROR(ForEachParallel(
      positions.size(), static_cast<size_t>(std::max(options.parallel_layers, 1)),
      [&](size_t i, const std::atomic<bool>& failed) -> Result<void> {
        FLOE_ASSIGN_OR_RETURN(layers[i], IndexOneLayer(client, image, positions[i], options,
                                                       progress, failed, deadline));
        return Ok();
      }));
  return layers;
}

std::optional<ArtifactObject> WindowsOf(const LayerObjects& objects) {
  if (objects.windows.empty()) {
    return std::nullopt;
  }
  return ArtifactObject{objects.published.windows, objects.published.windows_bytes};
}

// True when it was there already.
Result<bool> PushOnce(fetcher::RegistryClient& client, const fetcher::Repository& repository,
                      const Digest& digest, std::string_view bytes, Deadline deadline) {
  FLOE_ASSIGN_OR_RETURN(bool present, client.HasBlob(repository, digest, deadline));
  if (!present) {
    FLOE_RETURN_IF_ERROR(client.PushBlob(repository, digest, bytes, deadline));
  }
  return present;
}

// Every layer's objects and the empty config; says of each layer whether its tree was there.
Result<void> PushObjects(fetcher::RegistryClient& client, const fetcher::Repository& repository,
                         std::vector<LayerObjects>& layers, Deadline deadline) {
  static constexpr std::string_view kEmptyConfig = "{}";
  FLOE_RETURN_IF_ERROR(
      PushOnce(client, repository, Digest::Of(kEmptyConfig), kEmptyConfig, deadline));
  return ForEachParallel(
      layers.size(), kParallelPushes,
      [&](size_t i, const std::atomic<bool>& /*failed*/) -> Result<void> {
        LayerObjects& objects = layers[i];
        if (!objects.windows.empty()) {
          FLOE_RETURN_IF_ERROR(
              PushOnce(client, repository, objects.published.windows, objects.windows, deadline));
        }
        FLOE_ASSIGN_OR_RETURN(
            objects.published.reused,
            PushOnce(client, repository, objects.published.tree, objects.tree, deadline));
        return Ok();
      });
}

// What would fail for certain, found before anything is read or pushed.
Result<void> CheckRequest(const ResolvedImage& image, const PublishOptions& options) {
  if (options.bind && options.bind_tag.empty() && image.reference.tag.empty()) {
    return InvalidArgument("binding needs a tag: {} has none", image.reference.ToString());
  }
  for (const image::Descriptor& layer : image.manifest.layers) {
    if (!CanIndexLayer(layer.media_type)) {
      return Unimplemented("layer {} has media type {}, which cannot be indexed",
                           layer.digest.ToString(), Quote(layer.media_type));
    }
  }
  return Ok();
}

Result<Digest> PushBoundIndex(fetcher::RegistryClient& client, const ResolvedImage& image,
                              const PublishOptions& options, const BoundDescriptor& artifact,
                              Deadline deadline) {
  const fetcher::Repository& repository = image.reference.repository;
  const std::string& tag = options.bind_tag.empty() ? image.reference.tag : options.bind_tag;
  auto before = client.GetManifest(repository, tag, deadline);
  if (!before && before.error().code != ErrorCode::kNotFound) {
    return std::move(before).error();
  }
  image::Descriptor manifest;
  manifest.media_type = image.manifest.media_type;
  manifest.digest = image.manifest_digest;
  manifest.size_bytes = image.manifest_bytes.size();
  manifest.platform = image.config.platform;
  FLOE_ASSIGN_OR_RETURN(std::string bytes,
                        WriteBoundIndex(image.index_bytes, before ? before->bytes : std::string(),
                                        manifest, artifact));
  FLOE_RETURN_IF_ERROR(client.PushManifest(repository, tag, kIndexMediaType, bytes, deadline));
  return Digest::Of(bytes);
}

Result<void> KeepLocally(const std::string& store_dir, const std::vector<LayerObjects>& layers) {
  IndexStore store(store_dir);
  for (const LayerObjects& objects : layers) {
    StoredTree tree;
    tree.bytes = objects.tree;
    tree.windows = WindowsOf(objects);
    FLOE_RETURN_IF_ERROR(store.Put(IndexStore::LocalScope(), objects.published.layer, tree));
  }
  return Ok();
}

// Pushes the objects and the artifact that names them.
Result<PublishedIndex> PushIndex(fetcher::RegistryClient& client, const ResolvedImage& image,
                                 const PublishOptions& options, std::vector<LayerObjects>& layers,
                                 Deadline deadline) {
  const fetcher::Repository& repository = image.reference.repository;
  FLOE_RETURN_IF_ERROR(PushObjects(client, repository, layers, deadline));

  std::vector<std::pair<Digest, ArtifactLayer>> entries;
  PublishedIndex result;
  for (const LayerObjects& objects : layers) {
    const PublishedLayer& published = objects.published;
    entries.push_back(
        {published.layer, {{published.tree, published.tree_bytes}, WindowsOf(objects)}});
    result.layers.push_back(published);
  }
  std::string artifact = WriteIndexArtifact(image.manifest_digest, image.manifest.media_type,
                                            image.manifest_bytes.size(), entries);
  result.manifest = Digest::Of(artifact);
  FLOE_ASSIGN_OR_RETURN(bool subject_processed,
                        client.PushManifest(repository, result.manifest.ToString(),
                                            kManifestMediaType, artifact, deadline));
  if (!subject_processed) {
    FLOE_RETURN_IF_ERROR(fetcher::AddToFallbackTag(
        client, repository, image.manifest_digest,
        {std::string(kManifestMediaType), std::string(image::kIndexArtifactType), result.manifest,
         artifact.size()},
        deadline));
    result.used_fallback_tag = true;
  }
  if (options.bind) {
    FLOE_ASSIGN_OR_RETURN(
        result.bound_index,
        PushBoundIndex(client, image, options, {result.manifest, artifact.size()}, deadline));
  }
  return result;
}

// What the node keeps of a layer that it has indexed itself.
Result<LayerObjects> ReadKeptObjects(const IndexStore& store, const image::Descriptor& layer) {
  LayerObjects objects;
  FLOE_ASSIGN_OR_RETURN(StoredTree tree, store.Get(IndexStore::LocalScope(), layer.digest));
  if (tree.windows) {
    FLOE_ASSIGN_OR_RETURN(
        objects.windows,
        ReadFile(store.windows_directory() / tree.windows->digest.hex(), tree.windows->size_bytes));
    objects.published.windows = tree.windows->digest;
    objects.published.windows_bytes = tree.windows->size_bytes;
  }
  objects.published.layer = layer.digest;
  objects.published.tree = Digest::Of(tree.bytes);
  objects.published.compressed_bytes = layer.size_bytes;
  objects.published.tree_bytes = tree.bytes.size();
  objects.tree = std::move(tree.bytes);
  return objects;
}

}  // namespace

Result<PublishedIndex> CreateIndex(fetcher::RegistryClient& client, const ResolvedImage& image,
                                   const PublishOptions& options, const ProgressFn& progress,
                                   Deadline deadline) {
  FLOE_RETURN_IF_ERROR(CheckRequest(image, options));
  FLOE_ASSIGN_OR_RETURN(std::vector<LayerObjects> layers,
                        IndexLayers(client, image, options, progress, deadline));
  FLOE_ASSIGN_OR_RETURN(PublishedIndex result, PushIndex(client, image, options, layers, deadline));
  if (!options.store_dir.empty()) {
    FLOE_RETURN_IF_ERROR(KeepLocally(options.store_dir, layers));
  }
  return result;
}

Result<PublishedIndex> PublishStreamedLayers(fetcher::RegistryClient& client,
                                             const IndexedImage& image,
                                             const std::string& store_dir, Deadline deadline) {
  const IndexStore store(store_dir);
  std::vector<LayerObjects> layers;
  for (const size_t position : DistinctLayers(image.image)) {
    if (image.layers[position].reader == kStreamReader) {
      FLOE_ASSIGN_OR_RETURN(layers.emplace_back(),
                            ReadKeptObjects(store, image.image.manifest.layers[position]));
    }
  }
  if (layers.empty()) {
    return NotFound("no layer of manifest {} was streamed", image.image.manifest_digest.ToString());
  }
  return PushIndex(client, image.image, {}, layers, deadline);
}

}  // namespace floe::prepare
