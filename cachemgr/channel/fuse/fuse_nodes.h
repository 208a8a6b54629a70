#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "cachemgr/channel/channel.h"

namespace floe::cachemgr {

/// What a READ of a node needs; held by the node while anybody may read it.
struct FuseBinding {
  DeviceSpec spec;
  std::shared_ptr<DemandHandler> handler;
};

/// The one directory of the FUSE file system: a file for each registered device, named by its key.
/// Thread-safe.
///
/// A node lives until the kernel forgets it; its binding only while it is registered or open, so a
/// withdrawn device that a detached mount still has open goes on being served. A key has the same
/// node id in every process (NodeOf): the kernel's references, and the pages it has cached, stay
/// valid over a take-over, because a key names content.
class FuseNodes {
 public:
  struct Attributes {
    uint64_t node = 0;
    uint64_t size_bytes = 0;
  };
  struct Entry {
    uint64_t node = 0;
    std::string name;
  };

  /// Derived from the key; never 0 or 1, and positive as a file offset.
  static uint64_t NodeOf(std::string_view key);

  /// InvalidArgument when the key is registered with another size; Internal when another key has
  /// its node id (2^-62).
  Result<uint64_t> Register(const DeviceSpec& spec, std::shared_ptr<DemandHandler> handler);
  void Unregister(uint64_t node);

  /// Counts one reference of the kernel on success.
  std::optional<Attributes> Lookup(std::string_view name);
  void Forget(uint64_t node, uint64_t lookups);
  [[nodiscard]] std::optional<Attributes> Find(uint64_t node) const;
  /// False when there is nothing to read any more.
  bool Open(uint64_t node);
  void Release(uint64_t node);
  /// Null when the node is neither registered nor open.
  [[nodiscard]] std::shared_ptr<const FuseBinding> Binding(uint64_t node) const;
  /// Registered nodes with an id above `after`, in order.
  [[nodiscard]] std::vector<Entry> List(uint64_t after) const;

 private:
  struct Node {
    std::string key;
    uint64_t size_bytes = 0;
    uint64_t lookups = 0;
    uint64_t opens = 0;
    uint64_t registrations = 0;
    std::shared_ptr<const FuseBinding> binding = {};
  };
  using Table = std::map<uint64_t, Node>;
  /// Drops the binding, and the node, when nothing needs them; returns the binding, to be destroyed
  /// without the lock.
  std::shared_ptr<const FuseBinding> Trim(Table::iterator node) FLOE_REQUIRES(mutex_);

  mutable Mutex mutex_;
  Table nodes_ FLOE_GUARDED_BY(mutex_);
};

}  // namespace floe::cachemgr
