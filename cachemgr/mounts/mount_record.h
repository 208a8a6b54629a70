#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace floe::cachemgr {

/// How a layer came to be lazy, as the Mount call had it.
struct LayerNote {
  std::string digest = {};   ///< sha256:... of the layer.
  std::string reader = {};   ///< "floe-index", "estargz", ...
  std::string origin = {};   ///< "local", "bound", "repository".
  std::string why_not = {};  ///< Why no better reader served it; empty when there was none.
  bool operator==(const LayerNote&) const = default;
};

/// What is remembered of a mount (mounts/<id>/record.json, docs/cache.md).
struct MountRecord {
  std::string id = {};
  std::string target = {};  ///< Absolute, without symlinks.
  std::string bootstrap_digest = {};
  std::vector<std::string> keys = {};  ///< Of the devices, in slot order.
  std::string channel = {};            ///< "none", "fuse", ...
  std::string instance = {};  ///< Of the cache manager that made it: its channel dies with it.
  std::string boot_id = {};   ///< The boot that it was made in; empty: an older version's.
  dev_t device = 0;           ///< st_dev of the mount; 0 while it is being made.
  /// The kernel still has it, but the group that watched its files died with its last holder: what
  /// was not there then may have been read as zeros, and be in the page cache (FanotifyChannel).
  bool lost = false;
  std::vector<LayerNote> layers = {};  ///< Bottom to top; empty: an older version's.
};

std::string EncodeMountRecord(const MountRecord& record);
/// DataLoss when it is not one.
Result<MountRecord> DecodeMountRecord(const std::string& json);

/// [a-zA-Z0-9_.-]{1,128}, and not "." or "..": a file name.
bool IsMountId(std::string_view id);

}  // namespace floe::cachemgr
