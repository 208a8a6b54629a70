#include "cachemgr/cache/shared_blocks.h"

#include <algorithm>

namespace floe::cachemgr {

std::vector<uint32_t> GroupsInBlock(const image::BlobMap& map, uint64_t offset) {
  std::vector<uint32_t> groups;
  for (uint32_t i = map.FirstExtentEndingAfter(offset); i < map.extent_count(); ++i) {
    const image::ExtentView extent = map.extent(i);
    if (extent.device_offset >= offset + kBlockBytes) {
      break;
    }
    groups.push_back(extent.group);
  }
  std::ranges::sort(groups);
  groups.erase(std::ranges::unique(groups).begin(), groups.end());
  return groups;
}

std::vector<SharedBlocks::Block> SharedBlocks::Add(std::span<const Part> parts) {
  const MutexLock lock(mutex_);
  std::set<uint64_t> touched;
  for (const Part& part : parts) {
    if (written_.contains(part.block)) {
      continue;
    }
    auto [entry, is_new] = waiting_.try_emplace(part.block);
    Waiting& waiting = entry->second;
    if (is_new) {
      const std::vector<uint32_t> groups = GroupsInBlock(map_, part.block);
      waiting.bytes.resize(kBlockBytes);
      waiting.missing.insert(groups.begin(), groups.end());
    }
    std::ranges::copy(part.bytes,
                      waiting.bytes.begin() + static_cast<ptrdiff_t>(part.offset - part.block));
    if (waiting.missing.erase(part.group) > 0) {
      waiting.added.insert(part.group);
      blocks_of_[part.group].insert(part.block);
      touched.insert(part.block);
    }
  }
  std::vector<Block> ready;
  for (const uint64_t block : touched) {
    const Waiting& waiting = waiting_.at(block);
    if (waiting.missing.empty()) {
      ready.push_back({.offset = block, .bytes = waiting.bytes});
    }
  }
  return ready;
}

std::vector<uint32_t> SharedBlocks::Written(std::span<const Block> blocks) {
  std::vector<uint32_t> freed;
  const MutexLock lock(mutex_);
  for (const Block& block : blocks) {
    const auto waiting = waiting_.find(block.offset);
    for (const uint32_t group : waiting->second.added) {
      std::set<uint64_t>& left = blocks_of_.at(group);
      left.erase(block.offset);
      if (!left.empty()) {
        continue;
      }
      blocks_of_.erase(group);
      if (held_.contains(group)) {
        freed.push_back(group);
      }
    }
    waiting_.erase(waiting);
    written_.insert(block.offset);
  }
  return freed;
}

void SharedBlocks::PutBack(std::span<const Block> blocks, std::span<const Part> parts) {
  const MutexLock lock(mutex_);
  for (const Block& block : blocks) {
    Waiting& waiting = waiting_.at(block.offset);
    for (const Part& part : parts) {
      if (part.block == block.offset && waiting.added.erase(part.group) > 0) {
        waiting.missing.insert(part.group);
        blocks_of_.at(part.group).erase(part.block);
      }
    }
  }
}

std::vector<uint32_t> SharedBlocks::Settle(std::span<const uint32_t> groups) {
  const MutexLock lock(mutex_);
  std::vector<uint32_t> written;
  for (const uint32_t group : groups) {
    const auto left = blocks_of_.find(group);
    if (left == blocks_of_.end() || left->second.empty()) {
      written.push_back(group);
    } else {
      held_.insert(group);
    }
  }
  return written;
}

void SharedBlocks::Release(std::span<const uint32_t> groups) {
  const MutexLock lock(mutex_);
  for (const uint32_t group : groups) {
    held_.erase(group);
  }
}

bool SharedBlocks::IsHeld(uint32_t group) const {
  const MutexLock lock(mutex_);
  return held_.contains(group);
}

bool SharedBlocks::IsWaiting(uint64_t block) const {
  const MutexLock lock(mutex_);
  return waiting_.contains(block);
}

bool SharedBlocks::IsWritten(uint32_t group, ByteRange range) const {
  const MutexLock lock(mutex_);
  if (!held_.contains(group)) {
    return false;
  }
  const auto left = blocks_of_.find(group);
  if (left == blocks_of_.end()) {
    return true;
  }
  const auto next = left->second.lower_bound(AlignDown(range.offset, kBlockBytes));
  return next == left->second.end() || *next >= range.end();
}

}  // namespace floe::cachemgr
