#include "erofs/xattr_table.h"

#include <algorithm>
#include <functional>

#include "base/byte_range.h"

namespace floe::erofs {
namespace {

constexpr size_t kFirstSlots = 256;

uint64_t HashPair(const XattrName& name, std::string_view value) {
  constexpr uint64_t kMix = 0x9E3779B97F4A7C15;  // 2^64 divided by the golden ratio.
  uint64_t hash = std::hash<std::string_view>()(name.suffix) + name.prefix;
  hash = (hash ^ (hash >> 32U)) * kMix;
  return (hash ^ std::hash<std::string_view>()(value)) * kMix;
}

}  // namespace

std::optional<XattrName> SplitXattrName(std::string_view name) {
  for (const XattrPrefix& prefix : kXattrPrefixes) {
    if (prefix.whole_name ? name == prefix.text
                          : name.starts_with(prefix.text) && name.size() > prefix.text.size()) {
      return XattrName{prefix.number, name.substr(prefix.text.size())};
    }
  }
  return std::nullopt;
}

uint32_t XattrTable::Add(XattrName name, std::string_view value) {
  if ((pairs_.size() + 1) * 2 > slots_.size()) {
    Grow();
  }
  const uint64_t hash = HashPair(name, value);
  const size_t mask = slots_.size() - 1;
  size_t slot = (hash >> 16U) & mask;
  for (; slots_[slot] != 0; slot = (slot + 1) & mask) {
    Pair& pair = pairs_[slots_[slot] - 1];
    if (pair.hash == hash && pair.name.prefix == name.prefix && pair.name.suffix == name.suffix &&
        pair.value == value) {
      ++pair.users;
      return slots_[slot] - 1;
    }
  }
  pairs_.push_back({.name = name, .value = value, .hash = hash, .users = 1});
  slots_[slot] = static_cast<uint32_t>(pairs_.size());
  return slots_[slot] - 1;
}

void XattrTable::Grow() {
  slots_.assign(slots_.empty() ? kFirstSlots : slots_.size() * 2, 0);
  const size_t mask = slots_.size() - 1;
  for (uint32_t i = 0; i < pairs_.size(); ++i) {
    size_t slot = (pairs_[i].hash >> 16U) & mask;
    while (slots_[slot] != 0) {
      slot = (slot + 1) & mask;
    }
    slots_[slot] = i + 1;
  }
}

void XattrTable::PlaceShared() {
  for (Pair& pair : pairs_) {
    pair.shared = pair.users > 1 && EntryBytes(pair) >= kMinSharedBytes;
    if (pair.shared) {
      pair.shared_offset = shared_bytes_;
      shared_bytes_ += EntryBytes(pair);
    }
  }
}

uint64_t XattrTable::EntryBytes(const Pair& pair) {
  return AlignUp(sizeof(XattrEntry) + pair.name.suffix.size() + pair.value.size(), kXattrAlignment);
}

uint64_t XattrTable::AreaBytes(std::span<const uint32_t> pairs) const {
  if (pairs.empty()) {
    return 0;
  }
  uint64_t bytes = sizeof(XattrHeader);
  uint64_t shared = 0;
  for (uint32_t number : pairs) {
    const Pair& pair = pairs_[number];
    if (pair.shared && shared < kMaxSharedPerInode) {
      ++shared;
      bytes += sizeof(uint32_t);
    } else {
      bytes += EntryBytes(pair);
    }
  }
  return bytes;
}

void XattrTable::StoreArea(std::span<const uint32_t> pairs, uint64_t area_offset, char* to) const {
  if (pairs.empty()) {
    return;
  }
  XattrHeader header;
  uint64_t at = sizeof(XattrHeader);
  for (uint32_t number : pairs) {
    const Pair& pair = pairs_[number];
    if (pair.shared && header.shared_count < kMaxSharedPerInode) {
      StoreAt(to, at, static_cast<uint32_t>((area_offset + pair.shared_offset) / kXattrAlignment));
      at += sizeof(uint32_t);
      ++header.shared_count;
    }
  }
  uint64_t shared = 0;
  for (uint32_t number : pairs) {
    const Pair& pair = pairs_[number];
    if (pair.shared && shared < kMaxSharedPerInode) {
      ++shared;
      continue;
    }
    StoreEntry(pair, to + at);
    at += EntryBytes(pair);
  }
  StoreAt(to, 0, header);
}

void XattrTable::StoreShared(char* to) const {
  for (const Pair& pair : pairs_) {
    if (pair.shared) {
      StoreEntry(pair, to + pair.shared_offset);
    }
  }
}

void XattrTable::StoreEntry(const Pair& pair, char* to) {
  const XattrEntry entry{.name_length = static_cast<uint8_t>(pair.name.suffix.size()),
                         .prefix = pair.name.prefix,
                         .value_size = static_cast<uint16_t>(pair.value.size())};
  StoreAt(to, 0, entry);
  char* end = std::copy(pair.name.suffix.begin(), pair.name.suffix.end(), to + sizeof(entry));
  std::copy(pair.value.begin(), pair.value.end(), end);
}

}  // namespace floe::erofs
