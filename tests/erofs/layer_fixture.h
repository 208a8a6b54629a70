#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "erofs/writer.h"
#include "image/layer_index.h"

namespace floe::erofs::testing {

using Xattrs = std::map<std::string, std::string>;

struct Meta {
  uint32_t mode = 0644;  ///< Permission bits.
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t mtime_seconds = 1700000000;
  uint32_t mtime_nanoseconds = 0;
  Xattrs xattrs = {};
};

/// Builds a layer by hand: paths are "a/b", parents that nobody made are implied directories, file
/// contents are put on the current blob's device.
class LayerFixture {
 public:
  LayerFixture();

  LayerFixture& Dir(std::string_view path, Meta meta = {.mode = 0755});
  LayerFixture& Opaque(std::string_view path);  ///< The directory may be implied.
  LayerFixture& File(std::string_view path, std::string_view content, Meta meta = {});
  /// Pieces {offset, content}: offsets are multiples of 4096; the rest are holes.
  LayerFixture& Sparse(std::string_view path, uint64_t size,
                       const std::vector<std::pair<uint64_t, std::string>>& pieces, Meta meta = {});
  LayerFixture& Symlink(std::string_view path, std::string_view target, Meta meta = {.mode = 0777});
  /// `type` is S_IFCHR, S_IFBLK, S_IFIFO or S_IFSOCK.
  LayerFixture& Special(std::string_view path, uint32_t type, uint32_t major = 0,
                        uint32_t minor = 0, Meta meta = {});
  LayerFixture& HardLink(std::string_view path, std::string_view existing);
  LayerFixture& Whiteout(std::string_view path);
  /// Files from now on go to this blob, which is added with those before it.
  LayerFixture& UseBlob(uint32_t blob);
  /// Leaves blocks of the device free, so that the next file does not follow the last one.
  LayerFixture& SkipBlocks(uint64_t blocks);
  LayerFixture& RootMeta(Meta meta);

  /// CHECKs that the index is valid.
  [[nodiscard]] image::LayerIndex Build() const;
  [[nodiscard]] image::LayerIndexData Data() const;
  /// Contents of the devices, each of whole blocks.
  [[nodiscard]] const std::vector<std::string>& devices() const { return devices_; }
  /// A tag for each blob: the digest of its device.
  [[nodiscard]] std::vector<std::string> Tags() const;

 private:
  struct Node {
    image::Inode inode;
    std::string target;
    Xattrs xattrs;
    std::vector<image::Segment> segments;
    std::map<std::string, uint32_t> children;  ///< Directories: numbers in nodes_.
  };

  uint32_t Parent(std::string_view path, std::string& name);
  uint32_t Add(std::string_view path, uint32_t type, const Meta& meta);
  static void SetMeta(Node& node, uint32_t type, const Meta& meta);
  image::Segment Append(uint64_t file_offset, std::string_view content);

  std::vector<Node> nodes_;  ///< [0] is the root.
  std::vector<std::string> devices_;
  uint32_t blob_ = 0;
};

/// Layers, bottom first, with everything that a merge borrows.
class Stack {
 public:
  Stack() = default;
  explicit Stack(const std::vector<const LayerFixture*>& bottom_to_top);
  /// One layer made from an index.
  void Push(image::LayerIndex index, std::vector<std::string> tags);

  [[nodiscard]] const std::vector<MergeLayer>& layers() const { return layers_; }
  [[nodiscard]] Result<Bootstrap> Write(WhiteoutForm form = WhiteoutForm::kApply) const {
    return WriteBootstrap(layers_, {.whiteouts = form});
  }

 private:
  std::vector<std::unique_ptr<image::LayerIndex>> indexes_;
  std::vector<MergeLayer> layers_;
};

/// Text of so many bytes in which no two blocks are alike.
std::string TestContent(uint64_t bytes, uint32_t seed);

}  // namespace floe::erofs::testing
