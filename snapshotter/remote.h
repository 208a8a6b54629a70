#pragma once

#include <optional>
#include <string>

#include "base/digest.h"
#include "base/result.h"
#include "snapshotter/image_cache.h"
#include "snapshotter/runs.h"
#include "snapshotter/store/metastore.h"
#include "snapshotter/types.h"

/// containerd's remote protocol (docs/snapshotter.md): which layers need not be unpacked.
namespace floe::snapshotter {

/// What the client of a pull says about the layer that it is about to unpack.
struct RemoteTarget {
  Digest chain_id;        ///< containerd.io/snapshot.ref
  std::string image_ref;  ///< As pulled.
  std::optional<Digest> manifest_digest;
  Digest layer_digest;
};

/// Reads the labels of a Prepare, of Floe's own clients, of CRI and the transfer service (cri.*) or
/// of ctr-remote and nerdctl (remote/stargz.*), in this order. NotFound: the client names no image;
/// InvalidArgument: a label is not what it should be. REQUIRES: kLabelSnapshotRef is present.
Result<RemoteTarget> ReadRemoteTarget(const Labels& labels);

/// The name of the committed snapshot of a lazy layer. Namespaces share it: content and parent are
/// the same.
std::string LazySnapshotName(const Digest& chain_id, const std::string& parent);

/// Decides whether a layer can be lazy. An image is lazy with all of its layers or with none: once
/// a layer is downloaded containerd downloads all those above it. Thread-safe.
class RemoteLayers {
 public:
  /// Both must outlive this.
  RemoteLayers(ImageCache& images, Runs& runs) : images_(images), runs_(runs) {}

  /// The layer, when it and all layers above it can be mounted on `parent` (top first). The error
  /// says in one line why not; the caller then unpacks as usual.
  Result<LazyLayer> Decide(const RemoteTarget& target, const Chain& parent);

 private:
  Result<void> CheckMergeable(const prepare::IndexedImage& image, const RemoteTarget& target,
                              const LazyLayer& layer, const Chain& parent);

  ImageCache& images_;
  Runs& runs_;
};

}  // namespace floe::snapshotter
