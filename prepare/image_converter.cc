#include "prepare/image_converter.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <utility>

#include "base/quote.h"
#include "prepare/converted_manifest.h"
#include "prepare/parallel.h"
#include "prepare/temporary_file.h"

namespace floe::prepare {
namespace {

constexpr size_t kParallelPushes = 2;
/// What stargz-snapshotter appends to a tag to find the image of external tables.
constexpr std::string_view kTocTagSuffix = "-esgztoc";

struct LayerFile {
  TemporaryFile blob;
  image::ConvertedLayer converted;
  bool reused = false;
};
/// The distinct layers of an image.
using LayerFiles = std::map<Digest, LayerFile>;

// What would fail for certain, found before anything is read or pushed.
Result<void> CheckRequest(const ResolvedImage& image, const fetcher::Reference& target) {
  if (target.tag.empty() || target.digest.has_value()) {
    return InvalidArgument("{} names no tag to push the image under", target.ToString());
  }
  for (const image::Descriptor& layer : image.manifest.layers) {
    if (!image::IsTarLayerMediaType(layer.media_type)) {
      return Unimplemented("layer {} has media type {}, which cannot be converted",
                           layer.digest.ToString(), Quote(layer.media_type));
    }
    if (layer.media_type.find("nondistributable") != std::string::npos ||
        layer.media_type.find("foreign") != std::string::npos) {
      return Unimplemented("layer {} may not be distributed, so no copy of it is made",
                           layer.digest.ToString());
    }
  }
  return Ok();
}

// The first position of each layer, in manifest order.
std::vector<size_t> DistinctLayers(const ResolvedImage& image) {
  std::vector<size_t> positions;
  const auto& layers = image.manifest.layers;
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto same = [&](size_t other) { return layers[other].digest == layers[i].digest; };
    if (std::none_of(positions.begin(), positions.end(), same)) {
      positions.push_back(i);
    }
  }
  return positions;
}

class ImageConverter {
 public:
  ImageConverter(fetcher::RegistryClient& client, const ResolvedImage& image,
                 const fetcher::Reference& target, const ConvertImageOptions& options,
                 const ProgressFn& progress, Deadline deadline)
      : client_(client),
        image_(image),
        target_(target),
        options_(options),
        progress_(progress),
        deadline_(deadline) {}

  Result<ConvertedImage> Run() {
    FLOE_RETURN_IF_ERROR(CheckRequest(image_, target_));
    FLOE_RETURN_IF_ERROR(ConvertLayers());
    FLOE_RETURN_IF_ERROR(PushLayers());
    ConvertedImage result;
    FLOE_RETURN_IF_ERROR(PushTables(result));
    FLOE_RETURN_IF_ERROR(PushImage(result));
    for (size_t position : positions_) {
      result.layers.push_back(Describe(position));
    }
    return result;
  }

 private:
  Result<void> ConvertLayers();
  Result<void> ConvertLayer(size_t position, LayerFile& file, const std::atomic<bool>& failed);
  Result<bool> PushOnce(const Digest& digest, std::string_view bytes);
  Result<void> PushLayers();
  Result<void> PushTables(ConvertedImage& result);
  Result<void> PushImage(ConvertedImage& result);
  [[nodiscard]] std::vector<image::Descriptor> LayerDescriptors() const;
  [[nodiscard]] ConvertedImageLayer Describe(size_t position) const;
  [[nodiscard]] const LayerFile& FileOf(size_t position) const {
    return files_.at(image_.manifest.layers[position].digest);
  }

  fetcher::RegistryClient& client_;
  const ResolvedImage& image_;
  const fetcher::Reference& target_;
  const ConvertImageOptions& options_;
  const ProgressFn& progress_;
  const Deadline deadline_;
  std::vector<size_t> positions_;
  LayerFiles files_;
};

Result<void> ImageConverter::ConvertLayers() {
  positions_ = DistinctLayers(image_);
  for (size_t position : positions_) {
    files_[image_.manifest.layers[position].digest];  // The threads below add none.
  }
  return ForEachParallel(
      positions_.size(), static_cast<size_t>(std::max(options_.parallel_layers, 1)),
      [this](size_t i, const std::atomic<bool>& failed) {
        const size_t position = positions_[i];
        return ConvertLayer(position, files_.at(image_.manifest.layers[position].digest), failed);
      });
}

Result<void> ImageConverter::ConvertLayer(size_t position, LayerFile& file,
                                          const std::atomic<bool>& failed) {
  const image::Descriptor& layer = image_.manifest.layers[position];
  FLOE_ASSIGN_OR_RETURN(file.blob, TemporaryFile::Create(options_.temporary_directory));
  FLOE_ASSIGN_OR_RETURN(
      const auto converter,
      image::LayerConverter::Create(
          {layer.digest, layer.size_bytes, layer.media_type, image_.config.diff_ids[position]},
          options_.layer, [&file](std::string_view bytes) { return file.blob.Append(bytes); }));
  Progress state{static_cast<uint32_t>(position), 0, layer.size_bytes};
  FLOE_RETURN_IF_ERROR(client_.StreamBlob(
      image_.reference.repository, layer.digest, layer.size_bytes,
      [&](std::span<const std::byte> bytes) -> Result<void> {
        if (failed.load()) {
          return Cancelled("another layer failed");
        }
        FLOE_RETURN_IF_ERROR(converter->Feed(bytes));
        state.bytes_done += bytes.size();
        if (progress_) {
          progress_(state);
        }
        return Ok();
      },
      deadline_));
  FLOE_ASSIGN_OR_RETURN(file.converted, converter->Finish());
  return Ok();
}

// True when it was there already.
Result<bool> ImageConverter::PushOnce(const Digest& digest, std::string_view bytes) {
  const fetcher::Repository& repository = target_.repository;
  FLOE_ASSIGN_OR_RETURN(const bool present, client_.HasBlob(repository, digest, deadline_));
  if (!present) {
    FLOE_RETURN_IF_ERROR(client_.PushBlob(repository, digest, bytes, deadline_));
  }
  return present;
}

Result<void> ImageConverter::PushLayers() {
  return ForEachParallel(
      positions_.size(), kParallelPushes,
      [this](size_t i, const std::atomic<bool>& /*failed*/) -> Result<void> {
        LayerFile& file = files_.at(image_.manifest.layers[positions_[i]].digest);
        const image::SeekableBlob& blob = file.converted.blob;
        FLOE_ASSIGN_OR_RETURN(const std::string_view bytes, file.blob.Map());
        FLOE_ASSIGN_OR_RETURN(file.reused, PushOnce(blob.digest, bytes));
        if (!blob.toc_blob.empty()) {
          FLOE_RETURN_IF_ERROR(PushOnce(Digest::Of(blob.toc_blob), blob.toc_blob));
        }
        return Ok();
      });
}

// An image whose layers are the tables, each naming the layer that it describes. It comes before
// the image, which cannot be read lazily without it.
Result<void> ImageConverter::PushTables(ConvertedImage& result) {
  if (options_.layer.seekable.format != image::SeekableFormat::kEStargzExternalToc) {
    return Ok();
  }
  static constexpr std::string_view kEmptyConfig = "{}";
  std::vector<image::Descriptor> tables;
  for (size_t position : positions_) {
    const image::SeekableBlob& blob = FileOf(position).converted.blob;
    image::Descriptor& table = tables.emplace_back();
    table.media_type = blob.media_type;
    table.digest = Digest::Of(blob.toc_blob);
    table.size_bytes = blob.toc_blob.size();
    table.annotations[image::kTocLayerAnnotation] = blob.digest.ToString();
  }
  const Digest config = Digest::Of(kEmptyConfig);
  FLOE_RETURN_IF_ERROR(PushOnce(config, kEmptyConfig));
  const std::string manifest = WriteImageManifest(config, kEmptyConfig.size(), tables, {});
  result.toc_tag = target_.tag + std::string(kTocTagSuffix);
  result.toc_manifest = Digest::Of(manifest);
  FLOE_RETURN_IF_ERROR(client_.PushManifest(target_.repository, result.toc_tag,
                                            kOciManifestMediaType, manifest, deadline_));
  return Ok();
}

// Other annotations of the layers stay; those of an earlier conversion do not hold any more.
std::vector<image::Descriptor> ImageConverter::LayerDescriptors() const {
  std::vector<image::Descriptor> layers;
  for (size_t i = 0; i < image_.manifest.layers.size(); ++i) {
    const image::SeekableBlob& blob = FileOf(i).converted.blob;
    image::Descriptor& layer = layers.emplace_back();
    layer.media_type = blob.media_type;
    layer.digest = blob.digest;
    layer.size_bytes = blob.size_bytes;
    layer.annotations = blob.annotations;
    for (const auto& [name, value] : image_.manifest.layers[i].annotations) {
      if (!image::IsSeekableAnnotation(name)) {
        layer.annotations.emplace(name, value);
      }
    }
  }
  return layers;
}

Result<void> ImageConverter::PushImage(ConvertedImage& result) {
  std::vector<Digest> diff_ids;
  diff_ids.reserve(image_.manifest.layers.size());
  for (size_t i = 0; i < image_.manifest.layers.size(); ++i) {
    diff_ids.push_back(FileOf(i).converted.blob.diff_id);
  }
  FLOE_ASSIGN_OR_RETURN(const std::string config,
                        ReplaceDiffIds(image_.config_bytes, image_.config.diff_ids, diff_ids));
  result.config = Digest::Of(config);
  FLOE_RETURN_IF_ERROR(PushOnce(result.config, config));
  const std::string manifest = WriteImageManifest(result.config, config.size(), LayerDescriptors(),
                                                  image_.manifest.annotations);
  result.manifest = Digest::Of(manifest);
  FLOE_RETURN_IF_ERROR(client_.PushManifest(target_.repository, target_.tag, kOciManifestMediaType,
                                            manifest, deadline_));
  return Ok();
}

ConvertedImageLayer ImageConverter::Describe(size_t position) const {
  const LayerFile& file = FileOf(position);
  const image::SeekableBlob& blob = file.converted.blob;
  return {.before = image_.manifest.layers[position].digest,
          .after = blob.digest,
          .bytes_before = image_.manifest.layers[position].size_bytes,
          .bytes_after = blob.size_bytes,
          .diff_id_before = file.converted.source_diff_id,
          .diff_id_after = blob.diff_id,
          .entries = blob.entries,
          .chunks = blob.chunks,
          .reused = file.reused};
}

}  // namespace

Result<ConvertedImage> ConvertImage(fetcher::RegistryClient& client, const ResolvedImage& image,
                                    const fetcher::Reference& target,
                                    const ConvertImageOptions& options, const ProgressFn& progress,
                                    Deadline deadline) {
  return ImageConverter(client, image, target, options, progress, deadline).Run();
}

}  // namespace floe::prepare
