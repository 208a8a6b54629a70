#pragma once

#include <filesystem>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "cli/image_source.h"
#include "prepare/image_resolver.h"

namespace floe::cli {

/// Where `floe mount` keeps what it must remember: <root>/mounts/<id>/{record.json,plan/},
/// <root>/indexes, and the private cache manager's files.
inline constexpr const char* kDefaultMountRoot = "/var/lib/floe/mount";

struct LazyMountOptions {
  std::filesystem::path root = kDefaultMountRoot;
  std::string cachemgr;  ///< Socket of a cache manager; empty: the private one of `root`.
  std::string channel;   ///< For a private cache manager that must be started.
  /// Without store_dir: it is below `root`.
  prepare::FindOptions find = {};
  bool plain_http = false;
};

struct LazyMountReport {
  std::string channel;  ///< As in MountReply.
  uint64_t inode_count = 0;
  uint64_t image_bytes = 0;  ///< Compressed layers.
  uint64_t index_bytes = 0;  ///< Compressed index trees that were read.
};

/// Mounts an image on `directory`, an existing directory that is no mount point yet. On
/// failure nothing stays mounted and no private cache manager stays behind. FailedPrecondition: the
/// directory is a mount point already; NotFound: the image has no index,
/// and may not be streamed.
Result<LazyMountReport> MountImage(const ImageSource::Target& image,
                                   const std::filesystem::path& directory,
                                   const LazyMountOptions& options, Deadline deadline);

/// Undoes MountImage, also when the cache manager was killed meanwhile. NotFound: `target` is none
/// of this root's mounts; FailedPrecondition: it is busy.
Result<void> UnmountImage(const std::filesystem::path& target, const std::filesystem::path& root);

}  // namespace floe::cli
