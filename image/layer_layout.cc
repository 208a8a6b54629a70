#include "image/layer_layout.h"

#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace floe::image {
namespace {

class Layout {
 public:
  Layout(const LayerTree& tree, std::span<const TarFragment> fragments, const ArchiveMap& archive)
      : tree_(tree), fragments_(fragments), archive_(archive) {}

  Result<LayerIndexData> Run(SourceBlob blob, std::vector<Placement>* placements) {
    FLOE_RETURN_IF_ERROR(PlaceFiles());
    FLOE_RETURN_IF_ERROR(MapExtents());
    DropUnused();
    FLOE_RETURN_IF_ERROR(WriteTree());
    blob.device_size_bytes = device_size_;
    blob.first_unit = blob.first_group = blob.first_extent = 0;
    blob.unit_count = static_cast<uint32_t>(data_.units.size());
    blob.group_count = static_cast<uint32_t>(data_.groups.size());
    blob.extent_count = static_cast<uint32_t>(data_.extents.size());
    data_.blobs.push_back(std::move(blob));
    if (placements != nullptr) {
      *placements = std::move(placements_);
    }
    return std::move(data_);
  }

 private:
  using NodeId = LayerTree::NodeId;
  /// A regular file that has data, in archive order, with its segments in placed_.
  struct PlacedFile {
    NodeId node;
    uint32_t first_segment;
    uint32_t segment_count;
  };

  Result<void> PlaceFiles();
  Result<void> PlaceNode(NodeId id);
  Result<void> MapExtents();
  Result<void> MapRun(const Placement& run);
  void DropUnused();
  Result<void> WriteTree();
  Result<void> WriteChildren(NodeId directory);
  Result<void> WriteInode(NodeId id);
  Result<StringRef> Append(std::string_view text);
  Result<StringRef> Intern(const std::string& text);

  [[nodiscard]] std::span<const TarFragment> FragmentsOf(const LayerTree::Node& node) const {
    return fragments_.subspan(node.first_fragment, node.fragment_count);
  }

  const LayerTree& tree_;
  const std::span<const TarFragment> fragments_;
  const ArchiveMap& archive_;
  LayerIndexData data_;

  uint64_t device_size_ = 0;
  std::vector<PlacedFile> files_;  ///< Sorted by node.
  std::vector<Segment> placed_;
  std::vector<Placement> placements_;  ///< Of every fragment of files_, in their order.

  std::vector<uint64_t> group_starts_;  ///< In the archive; ascending.
  std::vector<bool> is_used_;           ///< Of each group.

  std::vector<uint32_t> number_;  ///< Of each node in the index; kNone: not yet reached.
  std::vector<NodeId> order_;     ///< Nodes by number.
  std::unordered_map<std::string, StringRef> interned_;

  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
};

Result<void> Layout::PlaceFiles() {
  for (NodeId id = 0; id < tree_.node_count(); ++id) {
    const LayerTree::Node& node = tree_.node(id);
    if (node.links > 0 && S_ISREG(node.inode.mode) && node.fragment_count > 0) {
      FLOE_RETURN_IF_ERROR(PlaceNode(id));
    }
  }
  return Ok();
}

Result<void> Layout::PlaceNode(NodeId id) {
  const LayerTree::Node& node = tree_.node(id);
  const auto first_segment = static_cast<uint32_t>(placed_.size());
  FLOE_RETURN_IF_ERROR(PlaceFile(FragmentsOf(node), node.inode.size_bytes, device_size_, placed_));
  PlaceData(FragmentsOf(node), std::span(placed_).subspan(first_segment), placements_);
  files_.push_back({.node = id,
                    .first_segment = first_segment,
                    .segment_count = static_cast<uint32_t>(placed_.size()) - first_segment});
  return Ok();
}

Result<void> Layout::MapExtents() {
  uint64_t unit_start = 0;
  uint32_t unit = 0;
  group_starts_.reserve(archive_.groups.size());
  for (const Group& group : archive_.groups) {
    for (; unit < group.unit; ++unit) {
      unit_start += archive_.units[unit].decoded_length;
    }
    group_starts_.push_back(unit_start + group.in_unit.offset);
  }
  is_used_.assign(archive_.groups.size(), false);
  for (const Placement& run : placements_) {
    FLOE_RETURN_IF_ERROR(MapRun(run));
  }
  return Ok();
}

//  archive   | unit                  | unit          |
//            | group     | group     | group         |
//  run              |======|===========|==|
//  extents          |  1   |     2     | 3|
Result<void> Layout::MapRun(const Placement& run) {
  const auto after = std::ranges::upper_bound(group_starts_, run.archive_offset);
  auto group = static_cast<uint32_t>(after - group_starts_.begin());
  uint64_t done = 0;
  for (group = group == 0 ? 0 : group - 1; done < run.length; ++group) {
    const uint64_t at = run.archive_offset + done;
    if (group == group_starts_.size() || at < group_starts_[group] ||
        at - group_starts_[group] >= archive_.groups[group].in_unit.length) {
      return InvalidArgument("no group holds the content of a file at {}", at);
    }
    const uint64_t in_group = at - group_starts_[group];
    const uint64_t length =
        std::min(run.length - done, archive_.groups[group].in_unit.length - in_group);
    data_.extents.push_back({.device_offset = run.device_offset + done,
                             .length = length,
                             .group = group,
                             .offset_in_group = in_group});
    is_used_[group] = true;
    done += length;
  }
  return Ok();
}

void Layout::DropUnused() {
  std::vector<uint32_t> new_group(archive_.groups.size(), kNone);
  uint32_t last_unit = kNone;
  uint32_t prefetch = 0;
  for (uint32_t i = 0; i < archive_.groups.size(); ++i) {
    if (!is_used_[i]) {
      continue;
    }
    Group group = archive_.groups[i];
    if (group.unit != last_unit) {
      last_unit = group.unit;
      data_.units.push_back(archive_.units[last_unit]);
      prefetch += last_unit < archive_.prefetch_units ? 1 : 0;
    }
    group.unit = static_cast<uint32_t>(data_.units.size()) - 1;
    new_group[i] = static_cast<uint32_t>(data_.groups.size());
    data_.groups.push_back(group);
  }
  for (Extent& extent : data_.extents) {
    extent.group = new_group[extent.group];
  }
  if (prefetch > 0) {
    data_.prefetch.push_back({.first_unit = 0, .unit_count = prefetch});
  }
}

Result<void> Layout::WriteTree() {
  number_.assign(tree_.node_count(), kNone);
  number_[LayerTree::kRoot] = 0;
  order_.push_back(LayerTree::kRoot);
  for (size_t next = 0; next < order_.size(); ++next) {
    FLOE_RETURN_IF_ERROR(WriteInode(order_[next]));
    FLOE_RETURN_IF_ERROR(WriteChildren(order_[next]));
  }
  return Ok();
}

Result<void> Layout::WriteChildren(NodeId directory) {
  const auto& children = tree_.node(directory).children;
  Inode& inode = data_.inodes[number_[directory]];
  inode.first_dirent = static_cast<uint32_t>(data_.dirents.size());
  inode.dirent_count = static_cast<uint32_t>(children.size());
  for (const auto& [name, child] : children) {
    if (child != LayerTree::kWhiteout && number_[child] == kNone) {
      number_[child] = static_cast<uint32_t>(order_.size());
      order_.push_back(child);
    }
    FLOE_ASSIGN_OR_RETURN(const StringRef ref, Append(name));
    data_.dirents.push_back(
        {.name = ref, .inode = child == LayerTree::kWhiteout ? kWhiteoutInode : number_[child]});
  }
  return Ok();
}

Result<void> Layout::WriteInode(NodeId id) {
  const LayerTree::Node& node = tree_.node(id);
  Inode inode = node.inode;
  FLOE_ASSIGN_OR_RETURN(inode.target, Append(node.target));
  inode.first_segment = static_cast<uint32_t>(data_.segments.size());
  const auto file = std::lower_bound(files_.begin(), files_.end(), id,
                                     [](const PlacedFile& a, NodeId b) { return a.node < b; });
  if (file != files_.end() && file->node == id) {
    inode.segment_count = file->segment_count;
    const auto first = placed_.begin() + file->first_segment;
    data_.segments.insert(data_.segments.end(), first, first + file->segment_count);
  }
  inode.first_xattr = static_cast<uint32_t>(data_.xattrs.size());
  inode.xattr_count = static_cast<uint32_t>(node.xattrs.size());
  for (const auto& [name, value] : node.xattrs) {
    Xattr xattr;
    FLOE_ASSIGN_OR_RETURN(xattr.name, Intern(name));
    FLOE_ASSIGN_OR_RETURN(xattr.value, Intern(value));
    data_.xattrs.push_back(xattr);
  }
  data_.inodes.push_back(inode);
  return Ok();
}

Result<StringRef> Layout::Append(std::string_view text) {
  if (text.size() > std::numeric_limits<uint32_t>::max() - data_.strings.size()) {
    return InvalidArgument("its names and attributes take more than 4 GiB");
  }
  const StringRef ref{.offset = static_cast<uint32_t>(data_.strings.size()),
                      .length = static_cast<uint32_t>(text.size())};
  data_.strings.append(text);
  return ref;
}

Result<StringRef> Layout::Intern(const std::string& text) {
  if (const auto found = interned_.find(text); found != interned_.end()) {
    return found->second;
  }
  FLOE_ASSIGN_OR_RETURN(const StringRef ref, Append(text));
  interned_.emplace(text, ref);
  return ref;
}

}  // namespace

//  file     | granule | granule | granule | granule | granu|
//  data       ====      ==                      ==
//  segments |   first segment   |         |    second      |
Result<void> PlaceFile(std::span<const TarFragment> data, uint64_t size_bytes, uint64_t& device_end,
                       std::vector<Segment>& segments) {
  const size_t first = segments.size();
  for (const TarFragment& run : data) {
    const uint64_t begin = AlignDown(run.file_offset, kHoleGranuleBytes);
    const uint64_t end =
        std::min(AlignUp(run.file_offset + run.length, kHoleGranuleBytes), size_bytes);
    const bool joins =
        segments.size() > first && segments.back().file_offset + segments.back().length >= begin;
    if (joins) {
      segments.back().length = end - segments.back().file_offset;
    } else {
      segments.push_back({.file_offset = begin, .length = end - begin});
    }
  }
  for (Segment& segment : std::span(segments).subspan(first)) {
    segment.device_offset = device_end;
    device_end = AlignUp(device_end + segment.length, kBlockBytes);
    if (device_end > kMaxDeviceBytes) {
      return InvalidArgument("its files take more than {} bytes", kMaxDeviceBytes);
    }
  }
  return Ok();
}

void PlaceData(std::span<const TarFragment> data, std::span<const Segment> segments,
               std::vector<Placement>& placements) {
  auto segment = segments.begin();
  for (const TarFragment& run : data) {
    while (segment->file_offset + segment->length <= run.file_offset) {
      ++segment;
    }
    placements.push_back(
        {.archive_offset = run.archive_offset,
         .length = run.length,
         .device_offset = segment->device_offset + run.file_offset - segment->file_offset});
  }
}

Result<LayerIndexData> LayOutLayer(const LayerTree& tree, std::span<const TarFragment> fragments,
                                   SourceBlob blob, const ArchiveMap& archive,
                                   std::vector<Placement>* placements) {
  return Layout(tree, fragments, archive).Run(std::move(blob), placements);
}

}  // namespace floe::image
