#include "cli/pull.h"

#include <unistd.h>

#include <cstddef>
#include <span>
#include <utility>

#include <fmt/format.h>

namespace floe::cli {
namespace {

constexpr std::chrono::hours kLeaseLifetime{24};
constexpr int kLookupAttempts = 3;  // As containerd's own unpacker.
constexpr size_t kMaxLabelBytes = 4096;
constexpr const char* kOciIndexType = "application/vnd.oci.image.index.v1+json";
constexpr const char* kOciManifestType = "application/vnd.oci.image.manifest.v1+json";

constexpr const char* kSnapshotRefLabel = "containerd.io/snapshot.ref";
constexpr const char* kImageLayersLabel = "containerd.io/snapshot/cri.image-layers";

/// This layer and the ones above, as many as fit into a label.
std::string LayersFrom(const prepare::ResolvedImage& image, size_t first) {
  std::string list;
  for (size_t i = first; i < image.manifest.layers.size(); ++i) {
    const std::string digest = image.manifest.layers[i].digest.ToString();
    if (std::string_view(kImageLayersLabel).size() + list.size() + digest.size() + 1 >
        kMaxLabelBytes) {
      break;
    }
    list += (list.empty() ? "" : ",") + digest;
  }
  return list;
}

/// Who the content came from, for containerd's own fetches and pushes.
std::pair<std::string, std::string> SourceLabel(const fetcher::Repository& repository) {
  return {"containerd.io/distribution.source." + repository.registry, repository.path};
}

class Pull {
 public:
  Pull(client::ContainerdClient& containerd, fetcher::RegistryClient& registry,
       const prepare::ResolvedImage& image, std::string snapshotter, LayerProgress progress,
       Deadline deadline)
      : containerd_(containerd),
        registry_(registry),
        image_(image),
        snapshotter_(std::move(snapshotter)),
        progress_(std::move(progress)),
        deadline_(deadline) {}

  Result<PullReport> Run() {
    report_.image_name = image_.reference.ToString();
    FLOE_RETURN_IF_ERROR(containerd_.EnsureNamespace());
    FLOE_RETURN_IF_ERROR(containerd_.TakeLease(kLeaseLifetime));
    const auto result = RunLeased();
    const auto released = containerd_.ReleaseLease();
    FLOE_RETURN_IF_ERROR(result);
    FLOE_RETURN_IF_ERROR(released);
    return std::move(report_);
  }

 private:
  Result<void> RunLeased() {
    FLOE_RETURN_IF_ERROR(StoreMetadata());
    for (size_t i = 0; i < image_.manifest.layers.size(); ++i) {
      auto pulled = PullLayer(i);
      if (!pulled.has_value()) {
        return WithContext(pulled.error(), "layer " + image_.manifest.layers[i].digest.ToString());
      }
      report_.layers.push_back(*pulled);
    }
    FLOE_ASSIGN_OR_RETURN(const image::Descriptor target, Target());
    report_.target = target.digest;
    return containerd_.PutImage(report_.image_name, target);
  }

  /// The gc.ref labels make one tree of image record, index, manifest, config and snapshots, which
  /// the garbage collector walks.
  Result<void> StoreMetadata() {
    client::Labels config_labels = {SourceLabel(image_.reference.repository)};
    if (!image_.chain_ids.empty()) {
      config_labels["containerd.io/gc.ref.snapshot." + snapshotter_] =
          image_.chain_ids.back().ToString();
    }
    FLOE_RETURN_IF_ERROR(
        Store(image_.manifest.config.digest, image_.config_bytes, std::move(config_labels)));

    client::Labels manifest_labels = {SourceLabel(image_.reference.repository)};
    manifest_labels["containerd.io/gc.ref.content.config"] =
        image_.manifest.config.digest.ToString();
    for (size_t i = 0; i < image_.manifest.layers.size(); ++i) {
      manifest_labels[fmt::format("containerd.io/gc.ref.content.l.{}", i)] =
          image_.manifest.layers[i].digest.ToString();
    }
    FLOE_RETURN_IF_ERROR(
        Store(image_.manifest_digest, image_.manifest_bytes, std::move(manifest_labels)));
    if (!image_.index_digest.has_value()) {
      return Ok();
    }
    client::Labels index_labels = {SourceLabel(image_.reference.repository)};
    index_labels["containerd.io/gc.ref.content.m.0"] = image_.manifest_digest.ToString();
    return Store(*image_.index_digest, image_.index_bytes, std::move(index_labels));
  }

  Result<void> Store(const Digest& digest, const std::string& bytes, client::Labels labels) {
    report_.metadata_bytes += bytes.size();
    return containerd_.WriteContent({digest, bytes.size(), std::move(labels)},
                                    [&bytes](const client::ContainerdClient::Sink& sink) {
                                      return sink(std::as_bytes(std::span(bytes)));
                                    });
  }

  Result<PulledLayer> PullLayer(size_t i) {
    const image::Descriptor& layer = image_.manifest.layers[i];
    const std::string chain_id = image_.chain_ids[i].ToString();
    const std::string parent = i == 0 ? "" : image_.chain_ids[i - 1].ToString();
    PulledLayer pulled{layer.digest, LayerOutcome::kPresent, layer.size_bytes, 0};
    for (int attempt = 0; attempt < kLookupAttempts; ++attempt) {
      FLOE_ASSIGN_OR_RETURN(const bool there, containerd_.HasSnapshot(snapshotter_, chain_id));
      if (there) {
        return pulled;
      }
      const std::string key = NewKey(chain_id);
      const client::Labels labels = LayerLabels(image_, i);
      const auto mounts = containerd_.PrepareSnapshot(snapshotter_, key, parent, labels);
      if (mounts.has_value()) {
        pulled.outcome = LayerOutcome::kUnpacked;
        FLOE_ASSIGN_OR_RETURN(pulled.downloaded_bytes, Unpack(i, key, *mounts, labels));
        return pulled;
      }
      if (mounts.error().code != ErrorCode::kAlreadyExists) {
        return mounts.error();
      }
      pulled.outcome = LayerOutcome::kLazy;
    }
    return Unavailable("the snapshotter says that snapshot {} exists, but does not show it",
                       chain_id);
  }

  /// Downloads, applies and commits; the active snapshot never outlives a failure.
  Result<uint64_t> Unpack(size_t i, const std::string& key,
                          const std::vector<client::Mount>& mounts, const client::Labels& labels) {
    auto downloaded = DownloadAndApply(i, mounts);
    if (downloaded.has_value()) {
      const auto committed =
          containerd_.CommitSnapshot(snapshotter_, image_.chain_ids[i].ToString(), key, labels);
      if (committed.has_value()) {
        return downloaded;
      }
      // Somebody else was faster; their snapshot is as good.
      if (committed.error().code != ErrorCode::kAlreadyExists) {
        downloaded = committed.error();
      }
    }
    (void)containerd_.RemoveSnapshot(snapshotter_, key);
    return downloaded;
  }

  Result<uint64_t> DownloadAndApply(size_t i, const std::vector<client::Mount>& mounts) {
    const image::Descriptor& layer = image_.manifest.layers[i];
    uint64_t downloaded = 0;
    FLOE_RETURN_IF_ERROR(containerd_.WriteContent(
        {layer.digest, layer.size_bytes, {SourceLabel(image_.reference.repository)}},
        [&](const client::ContainerdClient::Sink& sink) {
          return registry_.StreamBlob(
              image_.reference.repository, layer.digest, layer.size_bytes,
              [&](std::span<const std::byte> bytes) {
                downloaded += bytes.size();
                progress_(i, downloaded, layer.size_bytes);
                return sink(bytes);
              },
              deadline_);
        }));
    FLOE_ASSIGN_OR_RETURN(const Digest diff_id, containerd_.ApplyLayer(layer, mounts));
    if (diff_id != image_.config.diff_ids[i]) {
      return DataLoss("unpacked to diff ID {}, but the image's config says {}", diff_id.ToString(),
                      image_.config.diff_ids[i].ToString());
    }
    return downloaded;
  }

  /// Named as containerd's own unpacker names it, and unique among pulls that run at once.
  std::string NewKey(const std::string& chain_id) {
    return fmt::format("extract-{}-{}-{} {}",
                       std::chrono::system_clock::now().time_since_epoch().count(), ::getpid(),
                       ++keys_, chain_id);
  }

  Result<image::Descriptor> Target() const {
    image::Descriptor target;
    if (image_.index_digest.has_value()) {
      FLOE_ASSIGN_OR_RETURN(const auto index, image::ParseImageIndex(image_.index_bytes));
      target.media_type = index.media_type.empty() ? kOciIndexType : index.media_type;
      target.digest = *image_.index_digest;
      target.size_bytes = image_.index_bytes.size();
    } else {
      const std::string& type = image_.manifest.media_type;
      target.media_type = type.empty() ? kOciManifestType : type;
      target.digest = image_.manifest_digest;
      target.size_bytes = image_.manifest_bytes.size();
    }
    return target;
  }

  client::ContainerdClient& containerd_;
  fetcher::RegistryClient& registry_;
  const prepare::ResolvedImage& image_;
  const std::string snapshotter_;
  const LayerProgress progress_;
  const Deadline deadline_;
  PullReport report_;
  int keys_ = 0;
};

}  // namespace

client::Labels LayerLabels(const prepare::ResolvedImage& image, size_t layer) {
  return {
      {kSnapshotRefLabel, image.chain_ids[layer].ToString()},
      {"containerd.io/snapshot/cri.image-ref", image.reference.ToString()},
      {"containerd.io/snapshot/cri.manifest-digest", image.manifest_digest.ToString()},
      {"containerd.io/snapshot/cri.layer-digest", image.manifest.layers[layer].digest.ToString()},
      {kImageLayersLabel, LayersFrom(image, layer)},
  };
}

Result<PullReport> PullImage(client::ContainerdClient& containerd,
                             fetcher::RegistryClient& registry, const prepare::ResolvedImage& image,
                             const std::string& snapshotter, const LayerProgress& progress,
                             Deadline deadline) {
  return Pull(containerd, registry, image, snapshotter, progress, deadline).Run();
}

}  // namespace floe::cli
