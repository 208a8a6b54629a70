#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tests/erofs/layer_fixture.h"

namespace floe::erofs::testing {

/// What a reader of a tree can tell about one path.
struct Row {
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;
  int64_t mtime_seconds = 0;
  uint32_t mtime_nanoseconds = 0;
  uint64_t size_bytes = 0;  ///< Regular files and symlinks.
  uint32_t rdev_major = 0;
  uint32_t rdev_minor = 0;
  std::string content = {};  ///< Of a regular file; the target of a symlink.
  Xattrs xattrs = {};
  std::string same_inode_as = {};  ///< The first path of a hard-linked inode; else its own.

  bool operator==(const Row&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Row& row);

using Tree = std::map<std::string, Row>;  ///< By path; "." is the root.

/// Reads the whole tree with BootstrapReader. `devices`: contents in slot order.
Result<Tree> DumpBootstrap(std::string_view image, const std::vector<std::string_view>& devices);
/// Reads a mounted tree.
Tree DumpDirectory(const std::string& directory);

/// The devices' contents of a bootstrap, in slot order. `layers` as given to the merge.
std::vector<std::string_view> DevicesOf(const Bootstrap& bootstrap,
                                        const std::vector<const LayerFixture*>& layers);

/// Merges, writes, validates and reads back.
Result<Tree> Merge(const std::vector<const LayerFixture*>& layers,
                   WhiteoutForm form = WhiteoutForm::kApply);

/// Sorted paths, for short comparisons.
std::vector<std::string> Paths(const Tree& tree);

}  // namespace floe::erofs::testing
