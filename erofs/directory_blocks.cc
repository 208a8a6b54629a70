#include "erofs/directory_blocks.h"

#include <algorithm>

#include "base/byte_range.h"
#include "erofs/format.h"

namespace floe::erofs {
namespace {

constexpr std::string_view kDot = ".";
constexpr std::string_view kDotDot = "..";

size_t CountBelow(std::span<const MergedEntry> entries, std::string_view name) {
  const auto found = std::lower_bound(
      entries.begin(), entries.end(), name,
      [](const MergedEntry& entry, std::string_view text) { return entry.name < text; });
  return static_cast<size_t>(found - entries.begin());
}

}  // namespace

DirectoryBlocks::DirectoryBlocks(const MergedTree& tree, uint32_t directory)
    : tree_(tree), self_(directory), entries_(tree.children(tree.nodes[directory])) {
  dot_ = CountBelow(entries_, kDot);
  dot_dot_ = CountBelow(entries_, kDotDot) + 1;
}

MergedEntry DirectoryBlocks::item(size_t position) const {
  if (position < dot_) {
    return entries_[position];
  }
  if (position == dot_) {
    return {kDot, self_};
  }
  if (position < dot_dot_) {
    return entries_[position - 1];
  }
  return position == dot_dot_ ? MergedEntry{kDotDot, tree_.nodes[self_].parent}
                              : entries_[position - 2];
}

size_t DirectoryBlocks::EndOfBlock(size_t first, uint64_t& used) const {
  used = 0;
  size_t position = first;
  for (; position < count(); ++position) {
    const uint64_t bytes = sizeof(DirentOnDisk) + item(position).name.size();
    if (used + bytes > kBlockBytes) {
      break;
    }
    used += bytes;
  }
  return position;
}

uint64_t DirectoryBlocks::SizeBytes() const {
  uint64_t whole = 0;
  for (size_t first = 0;;) {
    uint64_t used = 0;
    first = EndOfBlock(first, used);
    if (first == count()) {
      return whole + used;
    }
    whole += kBlockBytes;
  }
}

void DirectoryBlocks::Store(const Layout& layout, char* blocks, char* tail) const {
  const bool inline_tail = layout.places[self_].layout == DataLayout::kFlatInline;
  for (size_t first = 0; first < count();) {
    uint64_t used = 0;
    const size_t end = EndOfBlock(first, used);
    StoreBlock(layout, first, end, inline_tail && end == count() ? tail : blocks);
    blocks += kBlockBytes;
    first = end;
  }
}

void DirectoryBlocks::StoreBlock(const Layout& layout, size_t first, size_t end, char* to) const {
  uint64_t name_at = (end - first) * sizeof(DirentOnDisk);
  for (size_t position = first; position < end; ++position) {
    const MergedEntry entry = item(position);
    DirentOnDisk dirent;
    dirent.nid_low = layout.places[entry.node].nid;
    dirent.name_offset = static_cast<uint16_t>(name_at);
    dirent.file_type = FileTypeOfMode(tree_.mode(tree_.nodes[entry.node]));
    StoreAt(to, (position - first) * sizeof(DirentOnDisk), dirent);
    std::copy(entry.name.begin(), entry.name.end(), to + name_at);
    name_at += entry.name.size();
  }
}

}  // namespace floe::erofs
