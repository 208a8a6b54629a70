#include "image/rafs/prefetch.h"

#include <sys/stat.h>

#include <algorithm>
#include <vector>

namespace floe::image::rafs {
namespace {

class Prefetch {
 public:
  explicit Prefetch(LayerIndexData& data)
      : data_(data), listed_(data.units.size(), false), visited_(data.inodes.size(), false) {}

  void AddInode(uint32_t number);

 private:
  void AddFile(const Inode& file);
  void AddUnit(uint32_t number);

  LayerIndexData& data_;
  std::vector<bool> listed_;   // Units.
  std::vector<bool> visited_;  // Inodes.
};

void Prefetch::AddUnit(uint32_t number) {
  if (listed_[number]) {
    return;
  }
  listed_[number] = true;
  std::vector<PrefetchRun>& runs = data_.prefetch;
  if (!runs.empty() && runs.back().first_unit + runs.back().unit_count == number &&
      data_.units[runs.back().first_unit].blob == data_.units[number].blob) {
    ++runs.back().unit_count;
  } else {
    runs.push_back({.first_unit = number, .unit_count = 1});
  }
}

void Prefetch::AddFile(const Inode& file) {
  for (uint32_t i = 0; i < file.segment_count; ++i) {
    const Segment& segment = data_.segments[file.first_segment + i];
    const SourceBlob& blob = data_.blobs[segment.blob];
    const auto extents = std::span(data_.extents).subspan(blob.first_extent, blob.extent_count);
    auto extent =
        std::ranges::lower_bound(extents, segment.device_offset, {}, &Extent::device_offset);
    for (;
         extent != extents.end() && extent->device_offset < segment.device_offset + segment.length;
         ++extent) {
      AddUnit(data_.groups[extent->group].unit);
    }
  }
}

// Breadth first: the tree may be deep.
void Prefetch::AddInode(uint32_t number) {
  std::vector<uint32_t> pending = {number};
  for (size_t at = 0; at < pending.size(); ++at) {
    const Inode& inode = data_.inodes[pending[at]];
    if (visited_[pending[at]]) {
      continue;
    }
    visited_[pending[at]] = true;
    AddFile(inode);
    for (uint32_t i = 0; i < inode.dirent_count; ++i) {
      pending.push_back(data_.dirents[inode.first_dirent + i].inode);
    }
  }
}

}  // namespace

void AddPrefetch(Bytes bootstrap, const Superblock& superblock, const TreeReader& tree,
                 LayerIndexData& data) {
  if (superblock.prefetch_table.empty()) {
    return;
  }
  const Record table(Slice(bootstrap, superblock.prefetch_table));
  Prefetch prefetch(data);
  for (size_t at = 0; at < superblock.prefetch_table.length; at += sizeof(uint32_t)) {
    const uint32_t nid = table.U32(at);
    if (nid == 0) {
      return;  // The end of the list.
    }
    if (nid == superblock.root_nid) {
      continue;
    }
    if (const uint32_t* number = tree.Find(nid); number != nullptr) {
      prefetch.AddInode(*number);
    }
  }
}

}  // namespace floe::image::rafs
