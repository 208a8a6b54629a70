#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "client/containerd_client.h"
#include "floe/cachemgr/v1/cachemgr.pb.h"

/// What `floe doctor` looks at. Each function looks at one thing and changes nothing.
namespace floe::cli {

enum class Verdict {
  kGood,
  kNote,     ///< Works, or is not needed here; worth knowing.
  kMissing,  ///< Floe does not work until the detail is done.
};

struct Finding {
  std::string area;  ///< "kernel", "containerd", "cache manager".
  std::string name;
  Verdict verdict = Verdict::kGood;
  std::string detail;  ///< One line; for kMissing: what to do.
};

/// "GOOD", "NOTE" or "MISSING".
std::string VerdictName(Verdict verdict);

/// EROFS, file-backed and loop mounts, FUSE and overlayfs, each tried for real where that leaves
/// nothing behind.
/// `scratch`: a directory on the file system of the cache.
std::vector<Finding> ExamineKernel(const std::string& scratch);

/// The cache manager's own probes of its channels.
std::vector<Finding> ExamineChannels(const Result<cachemgr::v1::ProbeReply>& probe);

/// The cache manager's mounts: is one of them lost? And is there a keeper?
std::vector<Finding> ExamineMounts(const Result<cachemgr::v1::StatusReply>& status);

/// A running containerd: is the plugin there, and does it export what this version needs?
std::vector<Finding> ExaminePlugins(const std::string& version,
                                    const std::vector<client::Plugin>& plugins,
                                    const std::string& snapshotter);

/// Its configuration file (version 2 or 3): will the CRI plugin and the transfer service hand
/// labels to the snapshotter? `cri`: the CRI plugin is loaded, so its settings matter.
std::vector<Finding> ExamineContainerdConfig(const std::string& toml, const std::string& version,
                                             const std::string& snapshotter, bool cri);

}  // namespace floe::cli
