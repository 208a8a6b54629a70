#include "tests/erofs/layer_fixture.h"

#include <sys/stat.h>

#include "base/byte_range.h"
#include "base/check.h"
#include "base/digest.h"

namespace floe::erofs::testing {
namespace {

image::StringRef Intern(image::LayerIndexData& data, std::string_view text) {
  const image::StringRef ref{static_cast<uint32_t>(data.strings.size()),
                             static_cast<uint32_t>(text.size())};
  data.strings.append(text);
  return ref;
}

}  // namespace

LayerFixture::LayerFixture() : nodes_(1), devices_(1) {
  SetMeta(nodes_[0], S_IFDIR, {.mode = 0755});
  nodes_[0].inode.flags = image::kInodeImplied;
}

void LayerFixture::SetMeta(Node& node, uint32_t type, const Meta& meta) {
  node.inode.mode = type | meta.mode;
  node.inode.uid = meta.uid;
  node.inode.gid = meta.gid;
  node.inode.mtime_seconds = meta.mtime_seconds;
  node.inode.mtime_nanoseconds = meta.mtime_nanoseconds;
  node.inode.flags &= static_cast<uint8_t>(~image::kInodeImplied);
  node.xattrs = meta.xattrs;
}

uint32_t LayerFixture::Parent(std::string_view path, std::string& name) {
  uint32_t directory = 0;
  for (size_t slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/')) {
    const std::string part(path.substr(0, slash));
    path.remove_prefix(slash + 1);
    const auto found = nodes_[directory].children.find(part);
    if (found != nodes_[directory].children.end()) {
      directory = found->second;
      FLOE_CHECK(directory != image::kWhiteoutInode && S_ISDIR(nodes_[directory].inode.mode));
      continue;
    }
    const auto number = static_cast<uint32_t>(nodes_.size());
    Node implied;
    SetMeta(implied, S_IFDIR, {.mode = 0755, .mtime_seconds = 0});
    implied.inode.flags = image::kInodeImplied;
    nodes_.push_back(implied);
    nodes_[directory].children[part] = number;
    directory = number;
  }
  name = path;
  return directory;
}

uint32_t LayerFixture::Add(std::string_view path, uint32_t type, const Meta& meta) {
  std::string name;
  const uint32_t parent = Parent(path, name);
  const auto found = nodes_[parent].children.find(name);
  if (found != nodes_[parent].children.end()) {
    SetMeta(nodes_[found->second], type, meta);
    return found->second;
  }
  const auto number = static_cast<uint32_t>(nodes_.size());
  nodes_.emplace_back();
  SetMeta(nodes_.back(), type, meta);
  nodes_[parent].children[name] = number;
  return number;
}

LayerFixture& LayerFixture::Dir(std::string_view path, Meta meta) {
  Add(path, S_IFDIR, meta);
  return *this;
}

LayerFixture& LayerFixture::Opaque(std::string_view path) {
  std::string none;
  const uint32_t directory = path.empty() ? 0 : Parent(std::string(path) + "/", none);
  nodes_[directory].inode.flags |= image::kInodeOpaque;
  return *this;
}

image::Segment LayerFixture::Append(uint64_t file_offset, std::string_view content) {
  std::string& device = devices_[blob_];
  const image::Segment segment{file_offset, content.size(), blob_, device.size()};
  device.append(content);
  device.resize(AlignUp(device.size(), kBlockBytes));
  return segment;
}

LayerFixture& LayerFixture::File(std::string_view path, std::string_view content, Meta meta) {
  Node& node = nodes_[Add(path, S_IFREG, meta)];
  node.inode.size_bytes = content.size();
  if (!content.empty()) {
    node.segments.push_back(Append(0, content));
  }
  return *this;
}

LayerFixture& LayerFixture::Sparse(std::string_view path, uint64_t size,
                                   const std::vector<std::pair<uint64_t, std::string>>& pieces,
                                   Meta meta) {
  Node& node = nodes_[Add(path, S_IFREG, meta)];
  node.inode.size_bytes = size;
  for (const auto& [offset, content] : pieces) {
    node.segments.push_back(Append(offset, content));
  }
  return *this;
}

LayerFixture& LayerFixture::Symlink(std::string_view path, std::string_view target, Meta meta) {
  Node& node = nodes_[Add(path, S_IFLNK, meta)];
  node.target = target;
  node.inode.size_bytes = target.size();
  return *this;
}

LayerFixture& LayerFixture::Special(std::string_view path, uint32_t type, uint32_t major,
                                    uint32_t minor, Meta meta) {
  Node& node = nodes_[Add(path, type, meta)];
  node.inode.rdev_major = major;
  node.inode.rdev_minor = minor;
  return *this;
}

LayerFixture& LayerFixture::HardLink(std::string_view path, std::string_view existing) {
  std::string name;
  const uint32_t target_parent = Parent(existing, name);
  const uint32_t target = nodes_[target_parent].children.at(name);
  const uint32_t parent = Parent(path, name);
  nodes_[parent].children[name] = target;
  return *this;
}

LayerFixture& LayerFixture::Whiteout(std::string_view path) {
  std::string name;
  const uint32_t parent = Parent(path, name);
  nodes_[parent].children[name] = image::kWhiteoutInode;
  return *this;
}

LayerFixture& LayerFixture::UseBlob(uint32_t blob) {
  blob_ = blob;
  devices_.resize(std::max<size_t>(devices_.size(), blob + 1));
  return *this;
}

LayerFixture& LayerFixture::SkipBlocks(uint64_t blocks) {
  devices_[blob_].resize(devices_[blob_].size() + blocks * kBlockBytes);
  return *this;
}

LayerFixture& LayerFixture::RootMeta(Meta meta) {
  SetMeta(nodes_[0], S_IFDIR, meta);
  return *this;
}

image::LayerIndexData LayerFixture::Data() const {
  image::LayerIndexData data;
  for (const std::string& device : devices_) {
    image::SourceBlob blob;
    blob.digest = Digest::Of("blob" + device);
    blob.size_bytes = device.size() + 1;
    blob.device_size_bytes = device.size();
    data.blobs.push_back(blob);
  }
  for (const Node& node : nodes_) {
    image::Inode inode = node.inode;
    inode.target = Intern(data, node.target);
    inode.first_segment = static_cast<uint32_t>(data.segments.size());
    inode.segment_count = static_cast<uint32_t>(node.segments.size());
    data.segments.insert(data.segments.end(), node.segments.begin(), node.segments.end());
    inode.first_xattr = static_cast<uint32_t>(data.xattrs.size());
    inode.xattr_count = static_cast<uint32_t>(node.xattrs.size());
    for (const auto& [name, value] : node.xattrs) {
      const image::StringRef name_ref = Intern(data, name);
      data.xattrs.push_back({name_ref, Intern(data, value)});
    }
    inode.first_dirent = static_cast<uint32_t>(data.dirents.size());
    inode.dirent_count = static_cast<uint32_t>(node.children.size());
    for (const auto& [name, child] : node.children) {
      data.dirents.push_back({Intern(data, name), child});
    }
    data.inodes.push_back(inode);
  }
  return data;
}

image::LayerIndex LayerFixture::Build() const {
  auto index = image::LayerIndex::Create(Data());
  if (!index.has_value()) {
    std::fputs((index.error().ToString() + "\n").c_str(), stderr);
  }
  FLOE_CHECK(index.has_value());
  return std::move(index).value();
}

std::vector<std::string> LayerFixture::Tags() const {
  std::vector<std::string> tags;
  for (size_t i = 0; i < devices_.size(); ++i) {
    tags.push_back(Digest::Of(std::to_string(i) + devices_[i]).hex());
  }
  return tags;
}

Stack::Stack(const std::vector<const LayerFixture*>& bottom_to_top) {
  for (const LayerFixture* layer : bottom_to_top) {
    Push(layer->Build(), layer->Tags());
  }
}

void Stack::Push(image::LayerIndex index, std::vector<std::string> tags) {
  indexes_.push_back(std::make_unique<image::LayerIndex>(std::move(index)));
  layers_.push_back({indexes_.back().get(), std::move(tags)});
}

std::string TestContent(uint64_t bytes, uint32_t seed) {
  std::string text;
  for (uint32_t line = 0; text.size() < bytes; ++line) {
    text += "seed " + std::to_string(seed) + " line " + std::to_string(line) + "\n";
  }
  text.resize(bytes);
  return text;
}

}  // namespace floe::erofs::testing
