#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "snapshotter/image_mounter.h"
#include "snapshotter/image_source.h"
#include "snapshotter/types.h"

/// Images and a cache manager of the tests' own making.
namespace floe::testing {

/// A layer with these paths: "etc/" is a directory, "etc/passwd" an empty file, "etc/-passwd" the
/// whiteout of etc/passwd. Parents that are not listed are implied.
std::shared_ptr<const image::LayerIndex> MakeLayer(const std::vector<std::string>& paths);

/// An image whose digests come from its name: layer i of "a" is Digest::Of("a layer i"). Layers
/// that two images share are made with the same `diff_names`.
prepare::IndexedImage MakeImage(const std::string& name,
                                const std::vector<std::vector<std::string>>& layers,
                                const std::vector<std::string>& diff_names = {});

/// The labels of the Prepare of layer `position`, as CRI sends them.
snapshotter::Labels CriLabels(const prepare::IndexedImage& image, const std::string& image_ref,
                              size_t position);

/// Answers with what was added. Thread-safe.
class FakeImageSource final : public snapshotter::ImageSource {
 public:
  struct Call {
    std::string image_ref;
    std::optional<Digest> manifest;
  };

  void Add(const std::string& image_ref, Result<prepare::IndexedImage> answer);
  [[nodiscard]] std::vector<Call> calls() const;
  /// Runs in each Load, before it answers.
  void OnLoad(std::function<void()> hook);

  /// The node no longer keeps any index.
  void LoseKept();

  Result<prepare::IndexedImage> Load(const std::string& image_ref,
                                     const std::optional<Digest>& manifest,
                                     Deadline deadline) override;
  Result<prepare::LayerWithIndex> ReadKept(const std::string& scope, const Digest& layer) override;

 private:
  mutable Mutex mutex_;
  std::map<std::string, Result<prepare::IndexedImage>> images_ FLOE_GUARDED_BY(mutex_);
  std::map<std::pair<std::string, Digest>, std::shared_ptr<const image::LayerIndex>> kept_
      FLOE_GUARDED_BY(mutex_);
  std::vector<Call> calls_ FLOE_GUARDED_BY(mutex_);
  std::function<void()> hook_ FLOE_GUARDED_BY(mutex_);
};

/// A cache manager that remembers what it mounted. Thread-safe.
class FakeMounter final : public snapshotter::ImageMounter {
 public:
  struct Mounted {
    prepare::MountPlan plan;
    std::filesystem::path target;
  };

  /// From now on every call fails with Unavailable.
  void GoAway() { away_ = true; }
  void ComeBack() { away_ = false; }
  /// As after a reboot: nothing is mounted.
  void Forget() { mounted_.clear(); }
  void SetBusy(const std::string& id) { busy_.insert(id); }

  /// By id.
  [[nodiscard]] const std::map<std::string, Mounted>& mounted() const { return mounted_; }
  [[nodiscard]] int mount_calls() const { return mount_calls_; }

  Result<void> Ready() override;
  Result<void> Mount(const std::string& id, const prepare::MountPlan& plan,
                     const std::filesystem::path& target) override;
  Result<void> Unmount(const std::string& id) override;

 private:
  Mutex mutex_;
  bool away_ = false;
  int mount_calls_ = 0;
  std::map<std::string, Mounted> mounted_;
  std::set<std::string> busy_;
};

}  // namespace floe::testing
