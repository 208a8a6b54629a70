#include "prepare/nydus_image.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "image/rafs/bootstrap_archive.h"
#include "image/rafs/rafs_layer.h"

namespace floe::prepare {
namespace {

using image::rafs::Blob;
using image::rafs::BlobSource;
using image::rafs::BootstrapArchive;
using image::rafs::Bytes;
using image::rafs::ChunkInfo;

constexpr std::string_view kBlobMediaType = "application/vnd.oci.image.layer.nydus.blob.v1";
constexpr const char* kGzipLayerMediaType = "application/vnd.oci.image.layer.v1.tar+gzip";
constexpr const char* kBlobAnnotation = "containerd.io/snapshot/nydus-blob";
constexpr const char* kRefAnnotation = "containerd.io/snapshot/nydus-ref";
constexpr const char* kBootstrapAnnotation = "containerd.io/snapshot/nydus-bootstrap";
constexpr std::string_view kManifestArtifactType = "application/vnd.nydus.image.manifest.v1+json";
constexpr std::string_view kOsFeature = "nydus.remoteimage.v1";

constexpr uint64_t kMaxLayerBytes = 256U << 20U;
constexpr uint64_t kMaxArchiveBytes = 1U << 30U;
constexpr uint64_t kMaxMetaBlobBytes = 256U << 20U;

Bytes AsBytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class NydusReader {
 public:
  explicit NydusReader(const LayerContext& context) : context_(context) {}

  Result<ReadLayer> Read();

 private:
  Result<BootstrapArchive> ReadArchive();
  Result<BlobSource> FindSource(const Blob& blob, const BootstrapArchive& archive);
  Result<void> FindObject(const Blob& blob, BlobSource& source) const;
  Result<void> FindReferred(const Blob& blob, BlobSource& source) const;
  Result<std::optional<ChunkInfo>> FindChunkInfo(const Blob& blob, const BlobSource& source,
                                                 const BootstrapArchive& archive);
  Result<std::string> FetchChunkInfo(const Blob& blob, const BlobSource& source);

  [[nodiscard]] const image::Descriptor* FindLayer(const Digest& digest) const;
  [[nodiscard]] const fetcher::Repository& repository() const {
    return context_.image.reference.repository;
  }

  const LayerContext& context_;
  uint64_t read_bytes_ = 0;
};

const image::Descriptor* NydusReader::FindLayer(const Digest& digest) const {
  const auto& layers = context_.image.manifest.layers;
  const auto found = std::ranges::find(layers, digest, &image::Descriptor::digest);
  return found == layers.end() ? nullptr : &*found;
}

Result<BootstrapArchive> NydusReader::ReadArchive() {
  const image::Descriptor& layer = context_.layer();
  if (layer.size_bytes > kMaxLayerBytes) {
    return FailedPrecondition("a bootstrap layer of {} bytes, at most {}", layer.size_bytes,
                              kMaxLayerBytes);
  }
  FLOE_ASSIGN_OR_RETURN(
      const std::string bytes,
      context_.client.GetBlob(repository(), layer.digest, layer.size_bytes, context_.deadline));
  read_bytes_ += bytes.size();
  if (bytes.size() != layer.size_bytes) {
    return DataLoss("a bootstrap layer of {} bytes, its descriptor says {}", bytes.size(),
                    layer.size_bytes);
  }
  FLOE_ASSIGN_OR_RETURN(BootstrapArchive archive,
                        BootstrapArchive::Read(AsBytes(bytes), kMaxArchiveBytes));
  if (const Digest diff_id = archive.DiffId(); diff_id != context_.diff_id()) {
    return DataLoss("the bootstrap layer's diff ID is {}, the config says {}", diff_id.ToString(),
                    context_.diff_id().ToString());
  }
  return archive;
}

// A blob of zran contexts is an ordinary layer (of the image that this one was made from); what
// stands for it among the layers is its metadata blob.
Result<void> NydusReader::FindReferred(const Blob& blob, BlobSource& source) const {
  source.media_type = kGzipLayerMediaType;
  source.size_bytes = blob.compressed_bytes;
  const image::Descriptor* layer = FindLayer(blob.meta_digest);
  if (layer == nullptr) {
    return Ok();
  }
  if (layer->size_bytes != blob.meta_bytes) {
    return DataLoss("its metadata blob has {} bytes, the bootstrap says {}", layer->size_bytes,
                    blob.meta_bytes);
  }
  const auto referred = layer->annotations.find(kRefAnnotation);
  if (referred != layer->annotations.end() && referred->second != blob.digest.ToString()) {
    return DataLoss("its layer refers to another blob than {}", blob.digest.ToString());
  }
  return Ok();
}

Result<void> NydusReader::FindObject(const Blob& blob, BlobSource& source) const {
  const image::Descriptor* layer = FindLayer(blob.digest);
  if (layer != nullptr) {
    source.media_type = layer->media_type;
    source.size_bytes = layer->size_bytes;
    if (layer->size_bytes < blob.compressed_bytes ||
        (blob.Has(image::rafs::kBlobSeparate) && layer->size_bytes != blob.compressed_bytes)) {
      return DataLoss("it has {} bytes, the bootstrap says {}", layer->size_bytes,
                      blob.compressed_bytes);
    }
    return Ok();
  }
  if (blob.Has(image::rafs::kBlobSeparate)) {
    return FindReferred(blob, source);
  }
  source.media_type = kBlobMediaType;
  source.size_bytes = std::max(blob.compressed_bytes, blob.ChunkInfoRange().end());
  return Ok();
}

Result<std::string> NydusReader::FetchChunkInfo(const Blob& blob, const BlobSource& source) {
  const ByteRange range = blob.ChunkInfoRange();
  if (blob.Has(image::rafs::kBlobSeparate)) {
    if (blob.meta_bytes > kMaxMetaBlobBytes) {
      return FailedPrecondition("a metadata blob of {} bytes, at most {}", blob.meta_bytes,
                                kMaxMetaBlobBytes);
    }
    // Whole, because so its digest can be checked; most of it is what is wanted.
    FLOE_ASSIGN_OR_RETURN(const std::string whole,
                          context_.client.GetBlob(repository(), blob.meta_digest, blob.meta_bytes,
                                                  context_.deadline));
    read_bytes_ += whole.size();
    if (range.end() > whole.size()) {
      return DataLoss("a metadata blob of {} bytes, the bootstrap says {}", whole.size(),
                      blob.meta_bytes);
    }
    return whole.substr(range.offset, range.length);
  }
  fetcher::RangeRequest request{.repository = repository(),
                                .digest = blob.digest,
                                .range = range,
                                .deadline = context_.deadline};
  if (FindLayer(blob.digest) != nullptr) {
    request.blob_bytes = source.size_bytes;
  }
  if (range.end() > source.size_bytes || range.length > kMaxMetaBlobBytes) {
    return DataLoss("chunk information at {}+{} of {} bytes", range.offset, range.length,
                    source.size_bytes);
  }
  FLOE_ASSIGN_OR_RETURN(std::string bytes, context_.client.FetchRangeSync(std::move(request)));
  read_bytes_ += bytes.size();
  return bytes;
}

Result<std::optional<ChunkInfo>> NydusReader::FindChunkInfo(const Blob& blob,
                                                            const BlobSource& source,
                                                            const BootstrapArchive& archive) {
  Bytes file;
  if (blob.Has(image::rafs::kBlobSeparate)) {
    file = archive.ChunkInfoFile(blob.meta_digest);
  }
  file = file.empty() ? archive.ChunkInfoFile(blob.digest) : file;
  if (!file.empty()) {
    FLOE_ASSIGN_OR_RETURN(auto info, image::rafs::ReadChunkInfoFile(file, blob));
    if (info) {
      return info;
    }
  }
  if (blob.chunk_info.empty()) {
    return std::optional<ChunkInfo>();
  }
  FLOE_ASSIGN_OR_RETURN(const std::string fetched, FetchChunkInfo(blob, source));
  FLOE_ASSIGN_OR_RETURN(ChunkInfo info, image::rafs::ReadChunkInfoRange(AsBytes(fetched), blob));
  return std::optional(std::move(info));
}

Result<BlobSource> NydusReader::FindSource(const Blob& blob, const BootstrapArchive& archive) {
  BlobSource source;
  FLOE_RETURN_IF_ERROR(FindObject(blob, source));
  FLOE_ASSIGN_OR_RETURN(source.chunk_info, FindChunkInfo(blob, source, archive));
  return source;
}

Result<ReadLayer> NydusReader::Read() {
  if (!IsNydusImage(context_.image.manifest) ||
      context_.position + 1 != context_.image.manifest.layers.size()) {
    return NotFound("not the bootstrap layer of a Nydus image");
  }
  FLOE_ASSIGN_OR_RETURN(const BootstrapArchive archive, ReadArchive());
  FLOE_ASSIGN_OR_RETURN(const image::rafs::Bootstrap bootstrap,
                        image::rafs::ReadBootstrap(archive.bootstrap()));
  std::vector<BlobSource> sources;
  for (const Blob& blob : bootstrap.blobs) {
    auto source = FindSource(blob, archive);
    if (!source) {
      return WithContext(source.error(), fmt::format("blob {}", blob.digest.ToString()));
    }
    sources.push_back(std::move(source).value());
  }
  FLOE_ASSIGN_OR_RETURN(image::rafs::RafsLayer layer,
                        image::rafs::ReadRafsLayer(archive.bootstrap(), bootstrap, sources));
  return ReadLayer{.index = std::make_shared<const image::LayerIndex>(std::move(layer.index)),
                   .windows = std::move(layer.windows),
                   .origin = image::IndexOrigin::kBound,
                   .read_bytes = read_bytes_};
}

bool IsMarked(const image::Descriptor& manifest, const image::Platform& platform) {
  return manifest.artifact_type == kManifestArtifactType ||
         std::ranges::count(platform.os_features, kOsFeature) != 0;
}

}  // namespace

bool IsNydusBlobLayer(const image::Descriptor& layer) {
  return layer.media_type == kBlobMediaType || layer.annotations.contains(kBlobAnnotation) ||
         layer.annotations.contains(kRefAnnotation);
}

bool IsNydusImage(const image::ImageManifest& manifest) {
  if (manifest.layers.empty()) {
    return false;
  }
  const auto last = std::prev(manifest.layers.end());
  const auto bootstrap = last->annotations.find(kBootstrapAnnotation);
  return bootstrap != last->annotations.end() && bootstrap->second == "true" &&
         std::all_of(manifest.layers.begin(), last, IsNydusBlobLayer);
}

Result<ReadLayer> ReadNydusImage(const LayerContext& context) {
  return NydusReader(context).Read();
}

std::optional<image::Descriptor> NydusAlternative(const image::ImageIndex& index,
                                                  const image::Platform& platform) {
  // Without its marks such a manifest is chosen as any other: the platform decides.
  image::ImageIndex marked;
  for (const image::Descriptor& manifest : index.manifests) {
    std::optional<image::Platform> plain = manifest.platform;
    if (plain && IsMarked(manifest, *plain)) {
      std::erase(plain->os_features, kOsFeature);
      image::Descriptor& added = marked.manifests.emplace_back(manifest);
      added.artifact_type.clear();
      added.platform = std::move(plain);
    }
  }
  const auto chosen = image::ChoosePlatform(marked, platform);
  if (!chosen) {
    return std::nullopt;
  }
  const auto found = std::ranges::find(index.manifests, chosen->digest, &image::Descriptor::digest);
  return *found;
}

}  // namespace floe::prepare
