#pragma once

#include <charconv>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "snapshotter/store/schema.h"

namespace floe::snapshotter {

/// Where things are below --root (docs/snapshotter.md). A value; makes nothing.
class RootLayout {
 public:
  explicit RootLayout(std::filesystem::path root) : root_(std::move(root)) {}

  [[nodiscard]] const std::filesystem::path& root() const { return root_; }
  [[nodiscard]] std::filesystem::path lock() const { return root_ / "lock"; }
  [[nodiscard]] std::filesystem::path metadata() const { return root_ / "metadata.db"; }
  /// The store's instance id once more: says that there was a store, and which, when it is gone.
  [[nodiscard]] std::filesystem::path instance() const { return root_ / "instance"; }
  /// What a repair put aside (repair.h).
  [[nodiscard]] std::filesystem::path lost_and_found() const { return root_ / "lost+found"; }

  /// Directories of unpacked, active and view snapshots; names are snapshot ids.
  [[nodiscard]] std::filesystem::path snapshots() const { return root_ / "snapshots"; }
  [[nodiscard]] std::filesystem::path snapshot(uint64_t id) const {
    return snapshots() / std::to_string(id);
  }
  [[nodiscard]] std::filesystem::path upper(uint64_t id) const { return snapshot(id) / "fs"; }
  [[nodiscard]] std::filesystem::path work(uint64_t id) const { return snapshot(id) / "work"; }

  /// Mount plans of runs; names are run keys (chain.h).
  [[nodiscard]] std::filesystem::path plans() const { return root_ / "images"; }
  [[nodiscard]] std::filesystem::path plan(const std::string& run_key) const {
    return plans() / run_key;
  }
  /// Mount points of runs; names are the ids of their top snapshots.
  [[nodiscard]] std::filesystem::path mount_points() const { return root_ / "mnt"; }
  [[nodiscard]] std::filesystem::path mount_point(uint64_t id) const {
    return mount_points() / std::to_string(id);
  }

  /// The kept tree objects of indexes (prepare/index_store.h).
  [[nodiscard]] std::filesystem::path indexes() const { return root_ / "indexes"; }

  /// The id that is the name of a snapshot's directory or of a run's mount point.
  static std::optional<uint64_t> ParseId(std::string_view name) {
    uint64_t id = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    const bool whole = error == std::errc() && end == name.data() + name.size();
    return whole && id <= kMaxSnapshotId && std::to_string(id) == name ? std::optional<uint64_t>(id)
                                                                       : std::nullopt;
  }

 private:
  std::filesystem::path root_;
};

}  // namespace floe::snapshotter
