#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "prepare/mount_plan.h"

namespace floe::snapshotter {

/// Who mounts merged images: the cache manager. Thread-safe; blocking.
class ImageMounter {
 public:
  virtual ~ImageMounter() = default;
  /// Ok when images can be mounted now; else Unavailable says who does not answer.
  virtual Result<void> Ready() = 0;
  /// Mounts at `target`, an existing directory. A live mount of the same id and plan is success.
  virtual Result<void> Mount(const std::string& id, const prepare::MountPlan& plan,
                             const std::filesystem::path& target) = 0;
  /// An id that is not mounted is success. FailedPrecondition while something uses it.
  virtual Result<void> Unmount(const std::string& id) = 0;
};

}  // namespace floe::snapshotter
