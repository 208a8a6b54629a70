#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace floe::erofs::testing {

/// Whether this process may mount, and this kernel mounts EROFS from files; else why not. The
/// first call moves the calling thread into a mount namespace of its own, so that nothing is seen
/// outside or left behind.
Result<void> CanMountErofsFiles();

/// A mount that goes away with this object.
class KernelMount {
 public:
  /// Writes image and devices as files into `work`, and mounts them at work/"mnt".
  static Result<KernelMount> Erofs(const std::filesystem::path& work, std::string_view image,
                                   const std::vector<std::string_view>& devices);
  /// An overlay of read-only directories, top first.
  static Result<KernelMount> Overlay(const std::filesystem::path& at,
                                     const std::vector<std::string>& top_first);
  KernelMount(KernelMount&& other) noexcept : at_(std::move(other.at_)) { other.at_.clear(); }
  KernelMount& operator=(KernelMount&&) = delete;
  ~KernelMount();

  [[nodiscard]] const std::string& path() const { return at_; }

 private:
  explicit KernelMount(std::string at) : at_(std::move(at)) {}
  std::string at_;
};

/// Writes image and devices; returns the paths, the image's first.
Result<std::vector<std::string>> WriteImageFiles(const std::filesystem::path& work,
                                                 std::string_view image,
                                                 const std::vector<std::string_view>& devices);

}  // namespace floe::erofs::testing
