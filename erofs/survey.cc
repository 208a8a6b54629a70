#include "erofs/survey.h"

#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <string_view>
#include <unordered_map>

#include "base/byte_range.h"

namespace floe::erofs {
namespace {

constexpr size_t kTagLength = 64;
constexpr size_t kMaxSkippedNames = 64;  // For a log line; more would say nothing new.
constexpr uint64_t kMaxSuffixBytes = std::numeric_limits<uint8_t>::max();
constexpr uint64_t kMaxValueBytes = std::numeric_limits<uint16_t>::max();

constexpr uint32_t kNanosecondsPerSecond = 1'000'000'000;

/// Orders to overlayfs. An image cannot give them: containerd sets no trusted xattr of an archive.
constexpr std::string_view kOverlayPrefix = "trusted.overlay.";
constexpr std::string_view kUserPrefix = "user.";
constexpr XattrName kOpaqueName{4, "overlay.opaque"};
constexpr std::string_view kOpaqueValue = "y";
/// Tells overlayfs that a directory which it does not merge may hold whiteouts all the same; else
/// they would show in its listing.
constexpr XattrName kOriginName{4, "overlay.origin"};

bool IsTag(std::string_view tag) {
  return tag.size() == kTagLength &&
         tag.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

class Surveyor {
 public:
  explicit Surveyor(const MergedTree& tree) : tree_(tree) {}

  Result<Survey> Run() {
    FLOE_RETURN_IF_ERROR(NumberBlobs());
    for (uint32_t node = 0; node < tree_.nodes.size(); ++node) {
      FLOE_RETURN_IF_ERROR(SurveyNode(node));
    }
    survey_.xattrs.PlaceShared();
    FLOE_RETURN_IF_ERROR(AssignDevices());
    return std::move(survey_);
  }

 private:
  Result<void> NumberBlobs() {
    size_t blobs = 0;
    for (size_t layer = 0; layer < tree_.layers.size(); ++layer) {
      const MergeLayer& merged = tree_.layers[layer];
      if (merged.device_tags.size() != merged.index->data().blobs.size()) {
        return InvalidArgument("layer {} has {} blobs but {} device tags", layer,
                               merged.index->data().blobs.size(), merged.device_tags.size());
      }
      survey_.first_blob.push_back(blobs);
      blobs += merged.device_tags.size();
    }
    survey_.blob_devices.assign(blobs, 0);
    return Ok();
  }

  Result<void> SurveyNode(uint32_t number) {
    const MergedNode& node = tree_.nodes[number];
    const auto first_pair = static_cast<uint32_t>(survey_.xattr_pairs.size());
    if (node.kind == NodeKind::kInode) {
      FLOE_RETURN_IF_ERROR(SurveyInode(node));
    }
    if (node.opaque) {
      survey_.xattr_pairs.push_back(survey_.xattrs.Add(kOpaqueName, kOpaqueValue));
    }
    if (node.holds_whiteouts) {
      survey_.xattr_pairs.push_back(survey_.xattrs.Add(kOriginName, ""));
    }
    const auto count = static_cast<uint32_t>(survey_.xattr_pairs.size()) - first_pair;
    if (count > 0) {
      survey_.node_xattrs.push_back({number, first_pair, count});
    }
    return Ok();
  }

  Result<void> SurveyInode(const MergedNode& node) {
    const image::Inode& inode = tree_.inode(node);
    if (FileTypeOfMode(inode.mode) == 0 || (inode.mode >> 16U) != 0) {
      return InvalidArgument("inode {} of layer {} has the unknown mode {:o}", node.inode,
                             node.layer, inode.mode);
    }
    if (inode.mtime_nanoseconds >= kNanosecondsPerSecond) {
      return InvalidArgument("inode {} of layer {} has an mtime of {} nanoseconds", node.inode,
                             node.layer, inode.mtime_nanoseconds);
    }
    if ((S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) &&
        (inode.rdev_major > kMaxMajor || inode.rdev_minor > kMaxMinor)) {
      return InvalidArgument("device number {}:{} in layer {} does not fit EROFS", inode.rdev_major,
                             inode.rdev_minor, node.layer);
    }
    if (S_ISREG(inode.mode)) {
      const size_t first_blob = survey_.first_blob[node.layer];
      for (const image::Segment& segment : layer_index(node).segments(inode)) {
        survey_.blob_devices[first_blob + segment.blob] = kReferenced;
      }
    }
    for (const image::Xattr& xattr : layer_index(node).xattrs(inode)) {
      FLOE_RETURN_IF_ERROR(AddXattr(node, xattr));
    }
    return Ok();
  }

  [[nodiscard]] const image::LayerIndex& layer_index(const MergedNode& node) const {
    return *tree_.layers[node.layer].index;
  }

  Result<void> AddXattr(const MergedNode& node, const image::Xattr& xattr) {
    const std::string_view name = layer_index(node).str(xattr.name);
    const std::string_view value = layer_index(node).str(xattr.value);
    const uint32_t mode = tree_.inode(node).mode;
    const std::optional<XattrName> split = SplitXattrName(name);
    const bool user_on_special = name.starts_with(kUserPrefix) && !S_ISREG(mode) && !S_ISDIR(mode);
    if (!split || user_on_special || name.starts_with(kOverlayPrefix)) {
      Skip(name);
      return Ok();
    }
    if (split->suffix.size() > kMaxSuffixBytes || value.size() > kMaxValueBytes) {
      return InvalidArgument("xattr {} ({} bytes) in layer {} is too large for EROFS",
                             name.substr(0, kMaxSuffixBytes), value.size(), node.layer);
    }
    survey_.xattr_pairs.push_back(survey_.xattrs.Add(*split, value));
    return Ok();
  }

  void Skip(std::string_view name) {
    std::vector<std::string>& skipped = survey_.skipped_xattrs;
    if (skipped.size() < kMaxSkippedNames &&
        std::find(skipped.begin(), skipped.end(), name) == skipped.end()) {
      skipped.emplace_back(name);
    }
  }

  Result<void> AssignDevices() {
    for (uint32_t layer = 0; layer < tree_.layers.size(); ++layer) {
      const MergeLayer& merged = tree_.layers[layer];
      for (uint32_t blob = 0; blob < merged.device_tags.size(); ++blob) {
        uint16_t& device = survey_.blob_devices[survey_.first_blob[layer] + blob];
        if (device == kReferenced) {
          FLOE_ASSIGN_OR_RETURN(device,
                                AssignDevice({layer, blob, merged.device_tags[blob],
                                              merged.index->data().blobs[blob].device_size_bytes}));
        }
      }
    }
    return Ok();
  }

  /// Layers that share a blob share its device: a tag names content.
  Result<uint16_t> AssignDevice(BootstrapDevice device) {
    if (!IsTag(device.tag)) {
      return InvalidArgument("device tag '{}' of layer {} is not 64 hex digits",
                             std::string_view(device.tag).substr(0, kTagLength), device.layer);
    }
    if (device.size_bytes % kBlockBytes != 0 || device.size_bytes / kBlockBytes >= kNoBlock) {
      return InvalidArgument("device {} of {} bytes is not addressable in 32-bit block numbers",
                             device.tag, device.size_bytes);
    }
    const auto known = device_of_tag_.find(device.tag);
    if (known != device_of_tag_.end()) {
      if (survey_.devices[known->second - 1U].size_bytes != device.size_bytes) {
        return InvalidArgument("device {} has two sizes", device.tag);
      }
      return known->second;
    }
    if (survey_.devices.size() == std::numeric_limits<uint16_t>::max()) {
      return InvalidArgument("more than {} devices", survey_.devices.size());
    }
    const auto id = static_cast<uint16_t>(survey_.devices.size() + 1);
    device_of_tag_.emplace(device.tag, id);
    survey_.devices.push_back(std::move(device));
    return id;
  }

  static constexpr uint16_t kReferenced = 1;  ///< Until AssignDevices.

  const MergedTree& tree_;
  Survey survey_;
  std::unordered_map<std::string, uint16_t> device_of_tag_;
};

}  // namespace

Result<Survey> SurveyTree(const MergedTree& tree) { return Surveyor(tree).Run(); }

}  // namespace floe::erofs
