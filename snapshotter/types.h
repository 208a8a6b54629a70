#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

/// The words of containerd's snapshot service, without gRPC's types.
namespace floe::snapshotter {

/// containerd's numbers (snapshots.proto).
enum class Kind : int {
  kView = 1,       ///< Read-only, on a committed parent; has mounts.
  kActive = 2,     ///< Writable; has mounts; may be committed.
  kCommitted = 3,  ///< Immutable; may be a parent; has no mounts of its own.
};

using Labels = std::map<std::string, std::string>;

struct Info {
  std::string name;
  std::string parent;  ///< Empty: none.
  Kind kind = Kind::kActive;
  std::chrono::system_clock::time_point created, updated;
  Labels labels;
};

/// What a snapshot itself occupies, without its parents.
struct Usage {
  uint64_t size_bytes = 0;  ///< Disk blocks.
  uint64_t inodes = 0;

  bool operator==(const Usage&) const = default;
};

/// One mount(2) that the caller is to make, as containerd's API has it.
struct Mount {
  std::string type;
  std::string source;
  std::vector<std::string> options;

  bool operator==(const Mount&) const = default;
};

}  // namespace floe::snapshotter
