#include "snapshotter/manifest_store.h"

#include "base/file.h"

namespace floe::snapshotter {
namespace {

constexpr uint64_t kMaxFileBytes = 16U << 20U;

Result<std::string> ReadChecked(const std::filesystem::path& path, const Digest& digest) {
  FLOE_ASSIGN_OR_RETURN(std::string bytes, ReadFile(path, kMaxFileBytes));
  if (Digest::Of(bytes) != digest) {
    return DataLoss("{} does not have the digest {}", path.native(), digest.ToString());
  }
  return bytes;
}

}  // namespace

Result<prepare::ResolvedImage> ManifestStore::Get(const fetcher::Reference& reference,
                                                  const Digest& manifest) const {
  const std::filesystem::path directory = directory_ / manifest.hex();
  prepare::ResolvedImage image;
  image.reference = reference;
  image.manifest_digest = manifest;
  FLOE_ASSIGN_OR_RETURN(image.manifest_bytes, ReadChecked(directory / "manifest", manifest));
  FLOE_ASSIGN_OR_RETURN(image.manifest, image::ParseImageManifest(image.manifest_bytes));
  FLOE_ASSIGN_OR_RETURN(image.config_bytes,
                        ReadChecked(directory / "config", image.manifest.config.digest));
  FLOE_ASSIGN_OR_RETURN(image.config, image::ParseImageConfig(image.config_bytes));
  if (image.config.diff_ids.size() != image.manifest.layers.size()) {
    return DataLoss("{}: config and manifest differ in their layers", directory.native());
  }
  image.chain_ids = image::ChainIds(image.config.diff_ids);
  if (auto index = ReadFile(directory / "index", kMaxFileBytes)) {
    image.index_digest = Digest::Of(*index);
    image.index_bytes = std::move(index).value();
  }
  return image;
}

Result<void> ManifestStore::Put(const prepare::ResolvedImage& image) const {
  const std::filesystem::path directory = directory_ / image.manifest_digest.hex();
  FLOE_RETURN_IF_ERROR(CreateDirectories(directory));
  FLOE_RETURN_IF_ERROR(WriteFileAtomically(directory / "config", image.config_bytes));
  if (image.index_digest) {
    FLOE_RETURN_IF_ERROR(WriteFileAtomically(directory / "index", image.index_bytes));
  }
  return WriteFileAtomically(directory / "manifest", image.manifest_bytes);
}

}  // namespace floe::snapshotter
