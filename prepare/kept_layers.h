#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "image/manifest.h"
#include "prepare/image_resolver.h"
#include "prepare/index_store.h"
#include "prepare/layer_reader.h"
#include "prepare/mount_plan.h"

/// Between LayerWithIndex and what the store keeps of it.
namespace floe::prepare {

/// Scope of layers that hold nothing themselves: the data layers of a Nydus image. Nothing is kept
/// for them.
inline constexpr std::string_view kEmptyScope = "bound-empty";
/// Scope of Nydus bootstraps: the digest of the layer, by which it is filed, is all that vouches.
inline constexpr std::string_view kNydusScope = "bound-nydus";

/// A layer without any entry: only the root, which it implies.
std::shared_ptr<const image::LayerIndex> MakeEmptyIndex();

/// Reads a tree and checks that it is of this layer. DataLoss: it lies; it names the layer.
/// PermissionDenied: groups that nothing vouches for (DigestKind::kNone), unless these are allowed.
Result<LayerWithIndex> DecodeTree(const StoredTree& tree, const std::string& scope,
                                  const image::Descriptor& layer, const Digest& diff_id,
                                  bool allow_unverified = false);

/// The kept index of a layer, from the best scope that has a good one. NotFound: none has.
Result<LayerWithIndex> FindKept(const IndexStore& store, const std::vector<std::string>& scopes,
                                const image::Descriptor& layer, const Digest& diff_id,
                                bool allow_unverified);

/// Keeps what a reader made, its windows too, under `scope`, and says so in the result. What cannot
/// be kept is logged and forgotten, unless it has windows that nobody else has: then it is an
/// error.
Result<LayerWithIndex> KeepRead(const IndexStore& store, const std::string& scope,
                                std::string_view reader, const std::string& why_not,
                                const image::Descriptor& layer, ReadLayer read);

/// What a mount plan needs of a layer whose tree is kept in `store_dir`.
PlanLayer PlanLayerOf(const LayerWithIndex& found, const Digest& layer,
                      const fetcher::Repository& source, const std::string& store_dir);

}  // namespace floe::prepare
