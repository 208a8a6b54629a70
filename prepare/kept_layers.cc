#include "prepare/kept_layers.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "image/index_codec.h"

namespace floe::prepare {
namespace {

// Where the tree speaks of one blob, it is the layer's; a RAFS bootstrap speaks of other layers.
Result<void> CheckKept(const StoredTree& tree, const image::LayerIndex& index,
                       const image::Descriptor& layer, const Digest& diff_id) {
  if (tree.reader != kNydusReader) {
    return CheckTree(index, layer, diff_id, tree.windows);
  }
  if (!index.data().diff_id.IsZero() && index.data().diff_id != diff_id) {
    return DataLoss("the index of layer {} has another diff ID than the image's config",
                    layer.digest.ToString());
  }
  return Ok();
}

bool HasUnverifiedGroups(const image::LayerIndex& index) {
  return std::ranges::any_of(index.data().groups, [](const image::Group& group) {
    return group.digest_kind == image::DigestKind::kNone;
  });
}

Result<StoredTree> ToStore(const IndexStore& store, const ReadLayer& read) {
  StoredTree tree;
  FLOE_ASSIGN_OR_RETURN(tree.bytes, image::EncodeLayerIndex(*read.index));
  for (size_t blob = 0; blob < read.windows.size(); ++blob) {
    const std::string& windows = read.windows[blob];
    if (!windows.empty()) {
      FLOE_RETURN_IF_ERROR(store.PutWindows(windows));
      tree.windows = ArtifactObject{Digest::Of(windows), windows.size()};
      tree.local_windows = true;
    }
  }
  return tree;
}

}  // namespace

std::shared_ptr<const image::LayerIndex> MakeEmptyIndex() {
  image::LayerIndexData data;
  image::Inode root;
  root.mode = S_IFDIR | 0755;
  root.flags = image::kInodeImplied;
  data.inodes.push_back(root);
  auto index = image::LayerIndex::Create(std::move(data));
  FLOE_CHECK(index.has_value());
  return std::make_shared<const image::LayerIndex>(std::move(index).value());
}

Result<LayerWithIndex> DecodeTree(const StoredTree& tree, const std::string& scope,
                                  const image::Descriptor& layer, const Digest& diff_id,
                                  bool allow_unverified) {
  auto index = image::DecodeLayerIndex(tree.bytes);
  if (!index) {
    return WithContext(index.error(), "index of layer " + layer.digest.ToString());
  }
  FLOE_RETURN_IF_ERROR(CheckKept(tree, *index, layer, diff_id));
  if (!allow_unverified && HasUnverifiedGroups(*index)) {
    return PermissionDenied("the index of layer {} has data that nothing vouches for",
                            layer.digest.ToString());
  }
  LayerWithIndex result;
  result.index = std::make_shared<const image::LayerIndex>(std::move(index).value());
  result.origin = IndexStore::OriginOf(scope);
  result.reader = tree.reader;
  result.why_not = tree.why_not;
  result.scope = scope;
  result.index_manifest = tree.index_manifest;
  result.tree_bytes = tree.bytes.size();
  return result;
}

Result<LayerWithIndex> FindKept(const IndexStore& store, const std::vector<std::string>& scopes,
                                const image::Descriptor& layer, const Digest& diff_id,
                                bool allow_unverified) {
  for (const std::string& scope : scopes) {
    auto tree = store.Get(scope, layer.digest);
    if (!tree) {
      continue;
    }
    auto decoded = DecodeTree(*tree, scope, layer, diff_id, allow_unverified);
    if (decoded) {
      return decoded;
    }
    LogWarning("stored index ignored layer={} scope={} reason=\"{}\"", layer.digest.ToString(),
               scope, decoded.error().message);
  }
  return NotFound("no stored index of layer {}", layer.digest.ToString());
}

Result<LayerWithIndex> KeepRead(const IndexStore& store, const std::string& scope,
                                std::string_view reader, const std::string& why_not,
                                const image::Descriptor& layer, ReadLayer read) {
  const bool has_windows = std::ranges::any_of(
      read.windows, [](const std::string& windows) { return !windows.empty(); });
  auto kept = [&]() -> Result<void> {
    if (scope == kEmptyScope) {
      return Ok();
    }
    FLOE_ASSIGN_OR_RETURN(StoredTree tree, ToStore(store, read));
    tree.reader = reader;
    tree.why_not = why_not;
    return store.Put(scope, layer.digest, tree);
  }();
  if (!kept && has_windows) {
    return WithContext(kept.error(), "windows of layer " + layer.digest.ToString());
  }
  if (!kept) {
    LogWarning("index not kept layer={} reason=\"{}\"", layer.digest.ToString(),
               kept.error().message);
  }
  LayerWithIndex result;
  result.index = std::move(read.index);
  result.origin = read.origin;
  result.reader = reader;
  result.why_not = why_not;
  result.scope = scope;
  result.tree_bytes = read.read_bytes;
  return result;
}

PlanLayer PlanLayerOf(const LayerWithIndex& found, const Digest& layer,
                      const fetcher::Repository& source, const std::string& store_dir) {
  return {.index = found.index,
          .sources = {source},
          .windows_directory = IndexStore(store_dir).windows_directory(),
          .note = LayerNote{.digest = layer.ToString(),
                            .reader = found.reader,
                            .origin = std::string(ToString(found.origin)),
                            .why_not = found.why_not}};
}

Result<LayerWithIndex> ReadKeptLayer(const std::string& store_dir, const std::string& scope,
                                     const Digest& layer) {
  LayerWithIndex result;
  result.scope = scope;
  if (scope == kEmptyScope) {
    result.index = MakeEmptyIndex();
    result.origin = image::IndexOrigin::kBound;
    result.reader = kNydusReader;
    return result;
  }
  FLOE_ASSIGN_OR_RETURN(StoredTree tree, IndexStore(store_dir).Get(scope, layer));
  FLOE_ASSIGN_OR_RETURN(image::LayerIndex index, image::DecodeLayerIndex(tree.bytes));
  const auto& blobs = index.data().blobs;
  if (tree.reader != kNydusReader && (blobs.size() != 1 || blobs[0].digest != layer)) {
    return DataLoss("the stored index of layer {} speaks of another blob", layer.ToString());
  }
  result.index = std::make_shared<const image::LayerIndex>(std::move(index));
  result.origin = IndexStore::OriginOf(scope);
  result.reader = tree.reader;
  result.why_not = tree.why_not;
  result.index_manifest = tree.index_manifest;
  result.tree_bytes = tree.bytes.size();
  return result;
}

}  // namespace floe::prepare
