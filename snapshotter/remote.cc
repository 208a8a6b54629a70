#include "snapshotter/remote.h"

#include <algorithm>
#include <array>
#include <utility>

#include "snapshotter/labels.h"

namespace floe::snapshotter {
namespace {

/// The labels of one family of clients.
struct LabelNames {
  const char* image_ref;
  const char* manifest_digest;  ///< Null: this client does not tell.
  const char* layer_digest;
};

constexpr std::array kFamilies = {
    LabelNames{"containerd.io/snapshot/floe.image-ref",
               "containerd.io/snapshot/floe.manifest-digest",
               "containerd.io/snapshot/floe.layer-digest"},
    LabelNames{"containerd.io/snapshot/cri.image-ref", "containerd.io/snapshot/cri.manifest-digest",
               "containerd.io/snapshot/cri.layer-digest"},
    LabelNames{"containerd.io/snapshot/remote/stargz.reference", nullptr,
               "containerd.io/snapshot/remote/stargz.digest"},
};

Result<Digest> DigestLabel(const Labels& labels, const std::string& name) {
  const auto label = labels.find(name);
  if (label == labels.end()) {
    return NotFound("label {} is missing", name);
  }
  auto digest = Digest::Parse(label->second);
  if (!digest) {
    return WithContext(digest.error(), "label " + name);
  }
  return digest;
}

// The position whose chain ID is the target's and whose layer is the one that was named.
Result<uint32_t> FindPosition(const prepare::ResolvedImage& image, const RemoteTarget& target) {
  const auto found = std::find(image.chain_ids.begin(), image.chain_ids.end(), target.chain_id);
  if (found == image.chain_ids.end()) {
    return InvalidArgument("no layer of manifest {} has the chain ID {}",
                           image.manifest_digest.ToString(), target.chain_id.ToString());
  }
  const auto position = static_cast<size_t>(found - image.chain_ids.begin());
  if (image.manifest.layers[position].digest != target.layer_digest) {
    return InvalidArgument("chain ID {} is that of layer {}, not of {}", target.chain_id.ToString(),
                           image.manifest.layers[position].digest.ToString(),
                           target.layer_digest.ToString());
  }
  return static_cast<uint32_t>(position);
}

// An unpacked parent is trusted to be the right one, as containerd trusts it.
Result<void> CheckParent(const prepare::ResolvedImage& image, uint32_t position,
                         const Chain& parent) {
  if (position == 0 && !parent.empty()) {
    return InvalidArgument("the bottom layer was given a parent");
  }
  if (position > 0 && parent.empty()) {
    return InvalidArgument("layer {} was given no parent (parallel unpacking)", position);
  }
  const std::optional<LazyLayer> below = parent.empty() ? std::nullopt : parent.front().lazy;
  if (below && below->chain_id != image.chain_ids[position - 1]) {
    return InvalidArgument("the parent has the chain ID {}, not {}", below->chain_id.ToString(),
                           image.chain_ids[position - 1].ToString());
  }
  return Ok();
}

// The run that the image's layers from `layer` up will be part of once all are lazy.
Piece RunOfWholeImage(const prepare::IndexedImage& indexed, const LazyLayer& layer,
                      const Chain& parent) {
  const prepare::ResolvedImage& image = indexed.image;
  Chain chain;
  for (size_t i = image.manifest.layers.size(); i-- > layer.position;) {
    chain.push_back({.id = 0,
                     .lazy = LazyLayer{.chain_id = image.chain_ids[i],
                                       .layer_digest = image.manifest.layers[i].digest,
                                       .manifest_digest = layer.manifest_digest,
                                       .image_ref = layer.image_ref,
                                       .position = static_cast<uint32_t>(i),
                                       .index_scope = indexed.layers[i].scope}});
  }
  chain.insert(chain.end(), parent.begin(), parent.end());
  return SplitChain(chain).front();
}

}  // namespace

Result<RemoteTarget> ReadRemoteTarget(const Labels& labels) {
  RemoteTarget target;
  FLOE_ASSIGN_OR_RETURN(target.chain_id, DigestLabel(labels, kLabelSnapshotRef));
  for (const LabelNames& names : kFamilies) {
    const auto image_ref = labels.find(names.image_ref);
    if (image_ref == labels.end() || image_ref->second.empty()) {
      continue;
    }
    target.image_ref = image_ref->second;
    FLOE_ASSIGN_OR_RETURN(target.layer_digest, DigestLabel(labels, names.layer_digest));
    if (names.manifest_digest != nullptr && labels.contains(names.manifest_digest)) {
      FLOE_ASSIGN_OR_RETURN(target.manifest_digest, DigestLabel(labels, names.manifest_digest));
    }
    return target;
  }
  return NotFound("the client named no image (no snapshot labels of cri, stargz or floe)");
}

std::string LazySnapshotName(const Digest& chain_id, const std::string& parent) {
  constexpr size_t kParentHexDigits = 12;
  return fmt::format("lazy/{}/{}", chain_id.ToString(),
                     Digest::Of(parent).hex().substr(0, kParentHexDigits));
}

Result<LazyLayer> RemoteLayers::Decide(const RemoteTarget& target, const Chain& parent) {
  FLOE_RETURN_IF_ERROR(runs_.Ready());
  FLOE_ASSIGN_OR_RETURN(auto image, images_.Get(target.image_ref, target.manifest_digest));
  LazyLayer layer;
  FLOE_ASSIGN_OR_RETURN(layer.position, FindPosition(image->image, target));
  FLOE_RETURN_IF_ERROR(CheckParent(image->image, layer.position, parent));
  layer.chain_id = target.chain_id;
  layer.layer_digest = target.layer_digest;
  layer.manifest_digest = image->image.manifest_digest;
  layer.image_ref = target.image_ref;
  layer.index_scope = image->layers[layer.position].scope;
  auto mergeable = CheckMergeable(*image, target, layer, parent);
  if (!mergeable) {
    images_.Refuse(target.image_ref, target.manifest_digest, mergeable.error());
    return mergeable.error();
  }
  return layer;
}

Result<void> RemoteLayers::CheckMergeable(const prepare::IndexedImage& image,
                                          const RemoteTarget& target, const LazyLayer& layer,
                                          const Chain& parent) {
  // The plan of the whole image is what the container will mount. Written now, it is made once, the
  // container starts at once, and what cannot be merged is unpacked while that is still possible.
  const Piece run = RunOfWholeImage(image, layer, parent);
  const size_t below = run.layers.size() - (image.image.manifest.layers.size() - layer.position);
  const Chain base(parent.begin() + static_cast<Chain::difference_type>(below), parent.end());
  auto plan = runs_.EnsurePlan(run, [&] { return runs_.MountChain(base); });
  if (!plan) {
    return WithContext(plan.error(), "image " + target.image_ref);
  }
  return Ok();
}

}  // namespace floe::snapshotter
