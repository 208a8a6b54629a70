#include "tests/snapshotter/fake_images.h"

#include <sys/stat.h>

#include <string_view>
#include <utility>

#include "base/check.h"
#include "fetcher/reference.h"

namespace floe::testing {
namespace {

struct Node {
  std::map<std::string, Node> children;
  bool directory = false;
  bool listed = false;
  bool whiteout = false;
};

void Insert(Node& root, std::string_view path) {
  const bool directory = path.ends_with('/');
  path.remove_suffix(directory ? 1 : 0);
  Node* node = &root;
  bool whiteout = false;
  while (!path.empty()) {
    node->directory = true;
    std::string_view name = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), name.size() + 1));
    whiteout = name.starts_with('-');
    name.remove_prefix(whiteout ? 1 : 0);
    node = &node->children[std::string(name)];
  }
  node->directory = node->directory || directory;
  node->listed = true;
  node->whiteout = whiteout;
}

class Builder {
 public:
  image::LayerIndexData Build(const Node& root) {
    data_.inodes.emplace_back();
    Fill(0, root);
    return std::move(data_);
  }

 private:
  void Fill(uint32_t inode, const Node& node) {
    data_.inodes[inode].mode = node.directory ? S_IFDIR | 0750 : S_IFREG | 0640;
    data_.inodes[inode].flags = node.directory && !node.listed ? image::kInodeImplied : 0;
    data_.inodes[inode].first_dirent = static_cast<uint32_t>(data_.dirents.size());
    data_.inodes[inode].dirent_count = static_cast<uint32_t>(node.children.size());
    std::vector<std::pair<uint32_t, const Node*>> below;
    for (const auto& [name, child] : node.children) {
      uint32_t number = image::kWhiteoutInode;
      if (!child.whiteout) {
        number = static_cast<uint32_t>(data_.inodes.size());
        data_.inodes.emplace_back();
        below.emplace_back(number, &child);
      }
      const image::StringRef ref{static_cast<uint32_t>(data_.strings.size()),
                                 static_cast<uint32_t>(name.size())};
      data_.strings += name;
      data_.dirents.push_back({.name = ref, .inode = number});
    }
    for (const auto& [number, child] : below) {
      Fill(number, *child);
    }
  }

  image::LayerIndexData data_;
};

}  // namespace

std::shared_ptr<const image::LayerIndex> MakeLayer(const std::vector<std::string>& paths) {
  Node root;
  root.directory = true;
  root.listed = true;
  for (const std::string& path : paths) {
    Insert(root, path);
  }
  auto index = image::LayerIndex::Create(Builder().Build(root));
  FLOE_CHECK(index.has_value());
  return std::make_shared<const image::LayerIndex>(std::move(index).value());
}

prepare::IndexedImage MakeImage(const std::string& name,
                                const std::vector<std::vector<std::string>>& layers,
                                const std::vector<std::string>& diff_names) {
  prepare::IndexedImage image;
  image.image.reference.repository = {"registry.test", name};
  image.image.reference.tag = "latest";
  image.image.manifest_digest = Digest::Of(name + " manifest");
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string layer = name + " layer " + std::to_string(i);
    image::Descriptor descriptor;
    descriptor.digest = Digest::Of(layer);
    image.image.manifest.layers.push_back(descriptor);
    image.image.config.diff_ids.push_back(
        Digest::Of("diff " + (i < diff_names.size() ? diff_names[i] : layer)));
    image.layers.emplace_back().index = MakeLayer(layers[i]);
    image.layers.back().scope = "repository-" + name;
  }
  image.image.chain_ids = image::ChainIds(image.image.config.diff_ids);
  return image;
}

snapshotter::Labels CriLabels(const prepare::IndexedImage& image, const std::string& image_ref,
                              size_t position) {
  return {
      {"containerd.io/snapshot.ref", image.image.chain_ids[position].ToString()},
      {"containerd.io/snapshot/cri.image-ref", image_ref},
      {"containerd.io/snapshot/cri.manifest-digest", image.image.manifest_digest.ToString()},
      {"containerd.io/snapshot/cri.layer-digest",
       image.image.manifest.layers[position].digest.ToString()},
  };
}

void FakeImageSource::Add(const std::string& image_ref, Result<prepare::IndexedImage> answer) {
  const MutexLock lock(mutex_);
  images_.insert_or_assign(image_ref, std::move(answer));
}

std::vector<FakeImageSource::Call> FakeImageSource::calls() const {
  const MutexLock lock(mutex_);
  return calls_;
}

void FakeImageSource::OnLoad(std::function<void()> hook) {
  const MutexLock lock(mutex_);
  hook_ = std::move(hook);
}

void FakeImageSource::LoseKept() {
  const MutexLock lock(mutex_);
  kept_.clear();
}

Result<prepare::IndexedImage> FakeImageSource::Load(const std::string& image_ref,
                                                    const std::optional<Digest>& manifest,
                                                    Deadline) {
  std::function<void()> hook;
  {
    const MutexLock lock(mutex_);
    calls_.push_back({image_ref, manifest});
    hook = hook_;
  }
  if (hook) {
    hook();
  }
  const MutexLock lock(mutex_);
  const auto found = images_.find(image_ref);
  if (found == images_.end()) {
    return NotFound("no index for {}", image_ref);
  }
  if (found->second) {
    const prepare::IndexedImage& image = *found->second;
    for (size_t i = 0; i < image.layers.size(); ++i) {
      kept_[{image.layers[i].scope, image.image.manifest.layers[i].digest}] = image.layers[i].index;
    }
  }
  return found->second;
}

Result<prepare::LayerWithIndex> FakeImageSource::ReadKept(const std::string& scope,
                                                          const Digest& layer) {
  const MutexLock lock(mutex_);
  const auto found = kept_.find({scope, layer});
  if (found == kept_.end()) {
    return NotFound("no stored index of layer {}", layer.ToString());
  }
  prepare::LayerWithIndex layer_found;
  layer_found.index = found->second;
  layer_found.scope = scope;
  return layer_found;
}

Result<void> FakeMounter::Ready() {
  const MutexLock lock(mutex_);
  return away_ ? Result<void>(Unavailable("nobody answers: cache manager")) : Ok();
}

Result<void> FakeMounter::Mount(const std::string& id, const prepare::MountPlan& plan,
                                const std::filesystem::path& target) {
  FLOE_RETURN_IF_ERROR(Ready());
  const MutexLock lock(mutex_);
  ++mount_calls_;
  FLOE_CHECK(std::filesystem::is_directory(target));
  mounted_.insert_or_assign(id, Mounted{plan, target});
  return Ok();
}

Result<void> FakeMounter::Unmount(const std::string& id) {
  FLOE_RETURN_IF_ERROR(Ready());
  const MutexLock lock(mutex_);
  if (busy_.contains(id)) {
    return FailedPrecondition("{} is busy", id);
  }
  mounted_.erase(id);
  return Ok();
}

}  // namespace floe::testing
