#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/digest.h"
#include "base/result.h"
#include "prepare/image_resolver.h"

namespace floe::snapshotter {

/// Finds an image and the indexes of all its layers. Thread-safe; blocks until the deadline.
class ImageSource {
 public:
  virtual ~ImageSource() = default;
  /// `manifest`: of the platform's manifest, when the caller knows it. Errors are those of
  /// prepare::ResolveIndexedImage; their message says in one line why the image cannot be lazy.
  virtual Result<prepare::IndexedImage> Load(const std::string& image_ref,
                                             const std::optional<Digest>& manifest,
                                             Deadline deadline) = 0;
  /// The index of a layer that an earlier Load found, without the registry. `scope`:
  /// prepare::LayerWithIndex::scope. NotFound: the node does not keep it (any more).
  virtual Result<prepare::LayerWithIndex> ReadKept(const std::string& scope,
                                                   const Digest& layer) = 0;
};

}  // namespace floe::snapshotter
