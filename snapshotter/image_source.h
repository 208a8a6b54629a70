#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "base/digest.h"
#include "base/result.h"
#include "prepare/image_resolver.h"

namespace floe::snapshotter {

/// Where a load may look.
enum class LoadMode {
  kPull,    ///< The registry decides: an image that is being pulled.
  kStored,  ///< What this node keeps of the image, the registry only for what is missing.
};

/// Finds an image and the indexes of all its layers. Thread-safe; blocks until the deadline.
class ImageSource {
 public:
  virtual ~ImageSource() = default;
  /// `manifest`: of the platform's manifest, when the caller knows it. Errors are those of
  /// prepare::ResolveImage and prepare::FindIndexes; their message says in one line why the image
  /// cannot be lazy.
  virtual Result<prepare::IndexedImage> Load(const std::string& image_ref,
                                             const std::optional<Digest>& manifest, LoadMode mode,
                                             Deadline deadline) = 0;
};

}  // namespace floe::snapshotter
