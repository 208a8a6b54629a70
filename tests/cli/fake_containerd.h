#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "client/containerd_client.h"

namespace floe::testing {

/// A containerd in memory, with a snapshotter that provides the layers in `lazy` by itself.
class FakeContainerd final : public client::ContainerdClient {
 public:
  struct Snapshot {
    std::string parent;
    client::Labels labels;
  };

  Result<std::string> Version() override { return std::string("1.6.20"); }
  Result<std::vector<client::Plugin>> Plugins() override { return std::vector<client::Plugin>(); }
  Result<void> EnsureNamespace() override { return Ok(); }
  Result<void> TakeLease(std::chrono::seconds) override {
    leased = true;
    return Ok();
  }
  Result<void> ReleaseLease() override {
    leased = false;
    return Ok();
  }

  Result<void> WriteContent(const client::NewContent& new_content,
                            const Producer& produce) override {
    made_without_lease = made_without_lease || !leased;
    std::string bytes;
    FLOE_RETURN_IF_ERROR(produce([&bytes](std::span<const std::byte> more) {
      // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes are characters here.
      bytes.append(reinterpret_cast<const char*>(more.data()), more.size());
      return Ok();
    }));
    if (Digest::Of(bytes) != new_content.digest || bytes.size() != new_content.size_bytes) {
      return FailedPrecondition("unexpected commit digest");
    }
    content[new_content.digest] = new_content.labels;
    return Ok();
  }
  Result<bool> HasContent(const Digest& digest) override { return content.contains(digest); }
  Result<void> DeleteContent(const Digest& digest) override {
    content.erase(digest);
    return Ok();
  }

  Result<bool> HasSnapshot(const std::string&, const std::string& name) override {
    return committed.contains(name);
  }
  Result<std::vector<client::Mount>> PrepareSnapshot(const std::string&, const std::string& key,
                                                     const std::string& parent,
                                                     const client::Labels& labels) override {
    made_without_lease = made_without_lease || !leased;
    const std::string& target = labels.at("containerd.io/snapshot.ref");
    if (lazy.contains(target)) {
      if (!hides_lazy) {
        committed[target] = {parent, labels};
      }
      return AlreadyExists("target snapshot {}", target);
    }
    active[key] = {parent, labels};
    return std::vector<client::Mount>{{"bind", "/upper", "", {"rbind"}}};
  }
  Result<void> CommitSnapshot(const std::string&, const std::string& name, const std::string& key,
                              const client::Labels&) override {
    committed[name] = active.at(key);
    active.erase(key);
    return Ok();
  }
  Result<void> RemoveSnapshot(const std::string&, const std::string& key) override {
    active.erase(key);
    return Ok();
  }
  Result<Digest> ApplyLayer(const image::Descriptor& layer,
                            const std::vector<client::Mount>&) override {
    if (!content.contains(layer.digest)) {
      return NotFound("content {}", layer.digest.ToString());
    }
    return diff_ids.at(layer.digest);
  }
  Result<void> PutImage(const std::string& name, const image::Descriptor& target) override {
    images[name] = target.digest;
    return Ok();
  }

  std::set<std::string> lazy;         ///< Chain IDs.
  bool hides_lazy = false;            ///< A broken snapshotter: says AlreadyExists, has nothing.
  std::map<Digest, Digest> diff_ids;  ///< What a layer unpacks to.

  std::map<Digest, client::Labels> content;
  std::map<std::string, Snapshot> active, committed;
  std::map<std::string, Digest> images;
  bool leased = false, made_without_lease = false;
};

}  // namespace floe::testing
