#include "cachemgr/channel/fuse/fuse_nodes.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/digest.h"

namespace floe::cachemgr {

uint64_t FuseNodes::NodeOf(std::string_view key) {
  uint64_t value = 0;
  const Digest digest = Digest::Of(key);
  std::memcpy(&value, digest.bytes().data(), sizeof(value));
  constexpr uint64_t kSecondHighest = 1ULL << 62U;
  return (value & (kSecondHighest - 1)) | kSecondHighest;
}

Result<uint64_t> FuseNodes::Register(const DeviceSpec& spec,
                                     std::shared_ptr<DemandHandler> handler) {
  const uint64_t number = NodeOf(spec.key);
  const MutexLock lock(mutex_);
  Node& node = nodes_.try_emplace(number, Node{.key = spec.key, .size_bytes = spec.size_bytes})
                   .first->second;
  if (node.key != spec.key) {
    return Internal("devices {} and {} have one node number", spec.key, node.key);
  }
  if (node.size_bytes != spec.size_bytes) {
    return InvalidArgument("device {} has {} bytes, not {}", spec.key, node.size_bytes,
                           spec.size_bytes);
  }
  ++node.registrations;
  if (node.binding == nullptr) {
    node.binding = std::make_shared<const FuseBinding>(
        FuseBinding{.spec = spec, .handler = std::move(handler)});
  }
  return number;
}

std::shared_ptr<const FuseBinding> FuseNodes::Trim(Table::iterator node) {
  std::shared_ptr<const FuseBinding> dropped;
  if (node->second.registrations == 0 && node->second.opens == 0) {
    dropped = std::move(node->second.binding);
    if (node->second.lookups == 0) {
      nodes_.erase(node);
    }
  }
  return dropped;
}

void FuseNodes::Unregister(uint64_t node) {
  std::shared_ptr<const FuseBinding> dropped;
  const MutexLock lock(mutex_);
  if (auto found = nodes_.find(node); found != nodes_.end() && found->second.registrations > 0) {
    --found->second.registrations;
    dropped = Trim(found);
  }
}

std::optional<FuseNodes::Attributes> FuseNodes::Lookup(std::string_view name) {
  const uint64_t number = NodeOf(name);
  const MutexLock lock(mutex_);
  auto found = nodes_.find(number);
  if (found == nodes_.end() || found->second.key != name || found->second.registrations == 0) {
    return std::nullopt;
  }
  ++found->second.lookups;
  return Attributes{.node = number, .size_bytes = found->second.size_bytes};
}

void FuseNodes::Forget(uint64_t node, uint64_t lookups) {
  std::shared_ptr<const FuseBinding> dropped;
  const MutexLock lock(mutex_);
  if (auto found = nodes_.find(node); found != nodes_.end()) {
    found->second.lookups -= std::min(found->second.lookups, lookups);
    dropped = Trim(found);
  }
}

std::optional<FuseNodes::Attributes> FuseNodes::Find(uint64_t node) const {
  const MutexLock lock(mutex_);
  auto found = nodes_.find(node);
  if (found == nodes_.end()) {
    return std::nullopt;
  }
  return Attributes{.node = node, .size_bytes = found->second.size_bytes};
}

bool FuseNodes::Open(uint64_t node) {
  const MutexLock lock(mutex_);
  auto found = nodes_.find(node);
  if (found == nodes_.end() || found->second.binding == nullptr) {
    return false;
  }
  ++found->second.opens;
  return true;
}

void FuseNodes::Release(uint64_t node) {
  std::shared_ptr<const FuseBinding> dropped;
  const MutexLock lock(mutex_);
  if (auto found = nodes_.find(node); found != nodes_.end() && found->second.opens > 0) {
    --found->second.opens;
    dropped = Trim(found);
  }
}

std::shared_ptr<const FuseBinding> FuseNodes::Binding(uint64_t node) const {
  const MutexLock lock(mutex_);
  auto found = nodes_.find(node);
  return found == nodes_.end() ? nullptr : found->second.binding;
}

std::vector<FuseNodes::Entry> FuseNodes::List(uint64_t after) const {
  const MutexLock lock(mutex_);
  std::vector<Entry> entries;
  for (auto it = nodes_.upper_bound(after); it != nodes_.end(); ++it) {
    if (it->second.registrations > 0) {
      entries.push_back(Entry{.node = it->first, .name = it->second.key});
    }
  }
  return entries;
}

}  // namespace floe::cachemgr
