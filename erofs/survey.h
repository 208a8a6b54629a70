#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "erofs/merge.h"
#include "erofs/writer.h"
#include "erofs/xattr_table.h"

namespace floe::erofs {

/// What a merged tree needs before anything of it can be placed: which devices it refers to, and
/// its xattrs. Borrows from the tree's layers.
struct Survey {
  std::vector<BootstrapDevice> devices;  ///< In slot order: layer by layer, blob by blob.

  XattrTable xattrs;
  /// The nodes that have xattrs, in the order of the nodes: [first, first + count) of xattr_pairs.
  struct NodeXattrs {
    uint32_t node = 0;
    uint32_t first = 0;
    uint32_t count = 0;
  };
  std::vector<NodeXattrs> node_xattrs;
  std::vector<uint32_t> xattr_pairs;  ///< Numbers of XattrTable.
  std::vector<std::string> skipped_xattrs;

  /// Device id (1 + slot) of each blob of the layer; 0 for a blob that nothing refers to.
  [[nodiscard]] std::span<const uint16_t> device_of_blob(uint32_t layer) const {
    return std::span(blob_devices).subspan(first_blob[layer]);
  }

  // device_of_blob()'s table.
  std::vector<size_t> first_blob;
  std::vector<uint16_t> blob_devices;
};

/// InvalidArgument: what the format cannot hold (inode types, device numbers, xattrs, devices).
Result<Survey> SurveyTree(const MergedTree& tree);

/// Hands out each node's xattr pairs. Ask for the nodes in ascending order.
class XattrWalk {
 public:
  explicit XattrWalk(const Survey& survey) : survey_(survey) {}
  std::span<const uint32_t> Of(uint32_t node) {
    if (next_ == survey_.node_xattrs.size() || survey_.node_xattrs[next_].node != node) {
      return {};
    }
    const Survey::NodeXattrs& run = survey_.node_xattrs[next_++];
    return std::span(survey_.xattr_pairs).subspan(run.first, run.count);
  }

 private:
  const Survey& survey_;
  size_t next_ = 0;
};

}  // namespace floe::erofs
