#pragma once

#include <filesystem>
#include <utility>

#include "base/digest.h"
#include "base/result.h"
#include "fetcher/reference.h"
#include "prepare/image_resolver.h"

namespace floe::snapshotter {

/// Manifest, config and (when the image was resolved through one) index of images, kept on the node
/// as <directory>/<manifest hex>/{manifest,config,index}. Any thread.
class ManifestStore {
 public:
  explicit ManifestStore(std::filesystem::path directory) : directory_(std::move(directory)) {}

  /// NotFound when it is not kept. Bytes whose digest is wrong are DataLoss.
  [[nodiscard]] Result<prepare::ResolvedImage> Get(const fetcher::Reference& reference,
                                                   const Digest& manifest) const;
  Result<void> Put(const prepare::ResolvedImage& image) const;

 private:
  std::filesystem::path directory_;
};

}  // namespace floe::snapshotter
