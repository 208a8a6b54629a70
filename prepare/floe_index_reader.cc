#include "prepare/floe_index_reader.h"

#include <atomic>
#include <utility>

#include "base/log.h"
#include "prepare/kept_layers.h"
#include "prepare/parallel.h"

namespace floe::prepare {
namespace {

constexpr uint64_t kMaxTreeBytes = 512ULL << 20U;
// Trees of one image that are fetched at the same time: small objects, so round trips count.
constexpr size_t kParallelTrees = 16;

}  // namespace

Result<std::vector<LayerWithIndex>> FloeIndexReader::Read(
    const FloeIndexCandidate& candidate, const std::vector<size_t>& positions) const {
  FLOE_ASSIGN_OR_RETURN(const IndexArtifact artifact, ReadArtifact(candidate));
  std::vector<LayerWithIndex> layers(positions.size());
  FLOE_RETURN_IF_ERROR(ForEachParallel(
      positions.size(), kParallelTrees,
      [&](size_t i, const std::atomic<bool>& /*failed*/) -> Result<void> {
        const auto held = artifact.layers.find(image_.manifest.layers[positions[i]].digest);
        if (held != artifact.layers.end()) {
          FLOE_ASSIGN_OR_RETURN(layers[i], ReadTree(candidate, held->second, positions[i]));
        }
        return Ok();
      }));
  return layers;
}

Result<IndexArtifact> FloeIndexReader::ReadArtifact(const FloeIndexCandidate& candidate) const {
  FLOE_ASSIGN_OR_RETURN(fetcher::Manifest manifest,
                        client_.GetManifest(image_.reference.repository,
                                            candidate.artifact.digest.ToString(), deadline_));
  if (manifest.bytes.size() != candidate.artifact.size_bytes) {
    return DataLoss("it has {} bytes, its descriptor says {}", manifest.bytes.size(),
                    candidate.artifact.size_bytes);
  }
  FLOE_ASSIGN_OR_RETURN(IndexArtifact artifact, ParseIndexArtifact(manifest.bytes));
  if (artifact.image_manifest != image_.manifest_digest) {
    return DataLoss("its subject is another manifest, {}", artifact.image_manifest.ToString());
  }
  return artifact;
}

Result<LayerWithIndex> FloeIndexReader::ReadTree(const FloeIndexCandidate& candidate,
                                                 const ArtifactLayer& objects,
                                                 size_t position) const {
  const image::Descriptor& layer = image_.manifest.layers[position];
  const Digest& diff_id = image_.config.diff_ids[position];
  auto known = store_.Get(candidate.scope, layer.digest);
  if (known && Digest::Of(known->bytes) == objects.tree.digest) {
    known->index_manifest = candidate.artifact.digest;
    known->windows = objects.windows;
    return DecodeTree(*known, candidate.scope, layer, diff_id);
  }
  FLOE_ASSIGN_OR_RETURN(StoredTree tree, FetchTree(objects, layer));
  tree.index_manifest = candidate.artifact.digest;
  FLOE_ASSIGN_OR_RETURN(LayerWithIndex decoded, DecodeTree(tree, candidate.scope, layer, diff_id));
  if (auto kept = store_.Put(candidate.scope, layer.digest, tree); !kept) {
    LogWarning("index not kept layer={} reason=\"{}\"", layer.digest.ToString(),
               kept.error().message);
  }
  return decoded;
}

Result<StoredTree> FloeIndexReader::FetchTree(const ArtifactLayer& objects,
                                              const image::Descriptor& layer) const {
  if (objects.tree.size_bytes > kMaxTreeBytes) {
    return ResourceExhausted("the index of layer {} has {} bytes, at most {}",
                             layer.digest.ToString(), objects.tree.size_bytes, kMaxTreeBytes);
  }
  auto bytes = client_.GetBlob(image_.reference.repository, objects.tree.digest,
                               objects.tree.size_bytes, deadline_);
  if (!bytes) {
    return WithContext(std::move(bytes).error(), "index of layer " + layer.digest.ToString());
  }
  if (bytes->size() != objects.tree.size_bytes) {
    return DataLoss("the index of layer {} has {} bytes, its descriptor says {}",
                    layer.digest.ToString(), bytes->size(), objects.tree.size_bytes);
  }
  StoredTree tree;
  tree.bytes = std::move(bytes).value();
  tree.windows = objects.windows;
  return tree;
}

}  // namespace floe::prepare
