#include "prepare/index_publisher.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "image/index_codec.h"
#include "prepare/index_artifact.h"
#include "prepare/index_store.h"

namespace floe::prepare {
namespace {

constexpr std::string_view kManifestMediaType = "application/vnd.oci.image.manifest.v1+json";
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
                                   size_t position, const image::IndexerOptions& options,
                                   const ProgressFn& progress, Deadline deadline) {
  const image::Descriptor& layer = image.manifest.layers[position];
  if (!image::IsTarLayerMediaType(layer.media_type)) {
    return Unimplemented("layer {} has media type '{}', which cannot be indexed",
                         layer.digest.ToString(), layer.media_type);
  }
  FLOE_ASSIGN_OR_RETURN(
      std::unique_ptr<image::LayerIndexer> indexer,
      image::LayerIndexer::Create(
          {layer.digest, layer.size_bytes, layer.media_type, image.config.diff_ids[position]},
          options));
  Progress state{static_cast<uint32_t>(position), 0, layer.size_bytes};
  FLOE_RETURN_IF_ERROR(client.StreamBlob(
      image.reference.repository, layer.digest, layer.size_bytes,
      [&](std::span<const std::byte> bytes) -> Result<void> {
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

// Indexes every distinct layer, some at a time. The first error ends the rest.
class ParallelIndexer {
 public:
  ParallelIndexer(fetcher::RegistryClient& client, const ResolvedImage& image,
                  const PublishOptions& options, const ProgressFn& progress, Deadline deadline)
      : client_(client),
        image_(image),
        options_(options),
        progress_(progress),
        deadline_(deadline),
        positions_(DistinctLayers(image)),
        results_(positions_.size()) {}

  Result<std::vector<LayerObjects>> Run() {
    {
      std::vector<std::jthread> workers;
      int count = std::clamp<int>(options_.parallel_layers, 1,
                                  static_cast<int>(std::max<size_t>(positions_.size(), 1)));
      workers.reserve(static_cast<size_t>(count));
      for (int i = 0; i < count; ++i) {
        workers.emplace_back([this] { Work(); });
      }
    }
    MutexLock lock(mutex_);
    if (error_) {
      return *error_;
    }
    return std::move(results_);
  }

 private:
  void Work() {
    for (;;) {
      size_t next = next_.fetch_add(1);
      if (next >= positions_.size() || failed_.load()) {
        return;
      }
      auto objects =
          IndexOneLayer(client_, image_, positions_[next], options_.indexer, progress_, deadline_);
      MutexLock lock(mutex_);
      if (objects) {
        results_[next] = std::move(objects).value();
      } else if (!error_) {
        error_ = std::move(objects).error();
        failed_.store(true);
      }
    }
  }

  fetcher::RegistryClient& client_;
  const ResolvedImage& image_;
  const PublishOptions& options_;
  const ProgressFn& progress_;
  const Deadline deadline_;
  const std::vector<size_t> positions_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> failed_{false};
  Mutex mutex_;
  std::vector<LayerObjects> results_ FLOE_GUARDED_BY(mutex_);
  std::optional<Error> error_ FLOE_GUARDED_BY(mutex_);
};

std::optional<ArtifactObject> WindowsOf(const LayerObjects& objects) {
  if (objects.windows.empty()) {
    return std::nullopt;
  }
  return ArtifactObject{objects.published.windows, objects.published.windows_bytes};
}

Result<void> PushOnce(fetcher::RegistryClient& client, const fetcher::Repository& repository,
                      const Digest& digest, std::string_view bytes, Deadline deadline) {
  FLOE_ASSIGN_OR_RETURN(bool present, client.HasBlob(repository, digest, deadline));
  return present ? Ok() : client.PushBlob(repository, digest, bytes, deadline);
}

Result<void> PushObjects(fetcher::RegistryClient& client, const fetcher::Repository& repository,
                         const std::vector<LayerObjects>& layers, Deadline deadline) {
  for (const LayerObjects& objects : layers) {
    FLOE_RETURN_IF_ERROR(
        PushOnce(client, repository, objects.published.tree, objects.tree, deadline));
    if (!objects.windows.empty()) {
      FLOE_RETURN_IF_ERROR(
          PushOnce(client, repository, objects.published.windows, objects.windows, deadline));
    }
  }
  static constexpr std::string_view kEmptyConfig = "{}";
  return PushOnce(client, repository, Digest::Of(kEmptyConfig), kEmptyConfig, deadline);
}

Result<Digest> PushBoundIndex(fetcher::RegistryClient& client, const ResolvedImage& image,
                              const PublishOptions& options, const BoundDescriptor& artifact,
                              Deadline deadline) {
  std::string tag = options.bind_tag.empty() ? image.reference.tag : options.bind_tag;
  if (tag.empty()) {
    return InvalidArgument("binding needs a tag: {} has none", image.reference.ToString());
  }
  image::Descriptor manifest;
  manifest.media_type = image.manifest.media_type;
  manifest.digest = image.manifest_digest;
  manifest.size_bytes = image.manifest_bytes.size();
  manifest.platform = image.config.platform;
  FLOE_ASSIGN_OR_RETURN(std::string bytes, WriteBoundIndex(image.index_bytes, manifest, artifact));
  FLOE_RETURN_IF_ERROR(
      client.PushManifest(image.reference.repository, tag, kIndexMediaType, bytes, deadline));
  return Digest::Of(bytes);
}

Result<void> KeepLocally(const std::string& store_dir, const Digest& artifact,
                         const std::vector<LayerObjects>& layers) {
  IndexStore store(store_dir);
  for (const LayerObjects& objects : layers) {
    FLOE_RETURN_IF_ERROR(store.Put(IndexStore::LocalScope(), objects.published.layer,
                                   {objects.tree, artifact, WindowsOf(objects)}));
  }
  return Ok();
}

}  // namespace

Result<PublishedIndex> CreateIndex(fetcher::RegistryClient& client, const ResolvedImage& image,
                                   const PublishOptions& options, const ProgressFn& progress,
                                   Deadline deadline) {
  FLOE_ASSIGN_OR_RETURN(std::vector<LayerObjects> layers,
                        ParallelIndexer(client, image, options, progress, deadline).Run());
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
  if (!options.store_dir.empty()) {
    FLOE_RETURN_IF_ERROR(KeepLocally(options.store_dir, result.manifest, layers));
  }
  return result;
}

}  // namespace floe::prepare
