#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "fetcher/registry_client.h"
#include "image/manifest.h"

namespace floe::client {

/// A mount as containerd describes it (containerd.types.Mount).
struct Mount {
  std::string type, source, target;
  std::vector<std::string> options;
};

using Labels = std::map<std::string, std::string>;

/// What is to be stored in the content store.
struct NewContent {
  Digest digest;
  uint64_t size_bytes = 0;
  Labels labels;
};

/// A plugin as containerd's introspection service shows it.
struct Plugin {
  std::string type, id;
  Labels exports;
  std::vector<std::string> capabilities;
  std::string init_error;  ///< Empty: it is loaded.
};

/// A blocking client of containerd, in one containerd namespace. The calls that a lazy pull makes,
/// against containerd 1.6 and later. One thread at a time (the lease is state). Errors have
/// containerd's own codes; Unavailable when nobody answers.
class ContainerdClient {
 public:
  /// Called with the bytes in order.
  using Sink = fetcher::RegistryClient::Sink;
  /// Puts all bytes into the sink, in order; returns the sink's error when it has one.
  using Producer = std::function<Result<void>(const Sink&)>;

  /// `address`: path of containerd's Unix socket.
  static std::unique_ptr<ContainerdClient> Connect(const std::string& address,
                                                   const std::string& containerd_namespace);
  virtual ~ContainerdClient() = default;

  /// For example "1.6.20~ds1".
  virtual Result<std::string> Version() = 0;
  virtual Result<std::vector<Plugin>> Plugins() = 0;
  /// Creates the namespace where it does not exist yet.
  virtual Result<void> EnsureNamespace() = 0;

  /// Until ReleaseLease everything that is made belongs to a new lease, which keeps it from the
  /// garbage collector. The lease ends by itself after `lifetime`, should this process not.
  virtual Result<void> TakeLease(std::chrono::seconds lifetime) = 0;
  virtual Result<void> ReleaseLease() = 0;

  /// Stores what `produce` delivers; size and digest are checked by containerd (a mismatch is
  /// FailedPrecondition). Content that is there already only gets the labels added. Nothing is left
  /// of a failed write.
  virtual Result<void> WriteContent(const NewContent& content, const Producer& produce) = 0;
  virtual Result<bool> HasContent(const Digest& digest) = 0;
  virtual Result<void> DeleteContent(const Digest& digest) = 0;

  /// True when `name` is a committed or active snapshot.
  virtual Result<bool> HasSnapshot(const std::string& snapshotter, const std::string& name) = 0;
  /// AlreadyExists for a target that the snapshotter can provide by itself.
  virtual Result<std::vector<Mount>> PrepareSnapshot(const std::string& snapshotter,
                                                     const std::string& key,
                                                     const std::string& parent,
                                                     const Labels& labels) = 0;
  virtual Result<void> CommitSnapshot(const std::string& snapshotter, const std::string& name,
                                      const std::string& key, const Labels& labels) = 0;
  virtual Result<void> RemoveSnapshot(const std::string& snapshotter, const std::string& key) = 0;

  /// Unpacks a layer of the content store onto the mounts; returns the diff ID.
  virtual Result<Digest> ApplyLayer(const image::Descriptor& layer,
                                    const std::vector<Mount>& mounts) = 0;

  /// Creates the image record, or points the existing one to `target`.
  virtual Result<void> PutImage(const std::string& name, const image::Descriptor& target) = 0;
};

}  // namespace floe::client
