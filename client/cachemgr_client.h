#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "fetcher/reference.h"
#include "floe/cachemgr/v1/cachemgr.pb.h"
#include "prepare/layer_streams.h"
#include "prepare/mount_plan.h"

namespace floe::client {

/// The layer of a StreamLayer call.
struct StreamLayerCall {
  Digest digest = {};
  uint64_t size_bytes = 0;
  std::string media_type = {};
  Digest diff_id = {};                            ///< Zero: not known.
  std::vector<fetcher::Repository> sources = {};  ///< In order of preference.
  bool plain_http = false;                        ///< Of all sources.
};
/// Its index, as this node computed it from the whole, verified layer.
struct StreamedLayer {
  std::string tree;        ///< For image::DecodeLayerIndex.
  std::string windows;     ///< The windows part; empty: there is none.
  std::string device_key;  ///< Of the complete blob in the cache; empty: no file has data.
};
/// Bytes of the layer that are done; on the calling thread, a few times a second.
using StreamProgress = std::function<void(uint64_t bytes_done)>;

class CachemgrClient;
/// Who streams layers for prepare/: a cache manager. `client` must outlive it. `plain_http`:
/// whether a registry is spoken to without TLS.
std::unique_ptr<prepare::LayerStreamer> MakeLayerStreamer(
    CachemgrClient& client, std::function<bool(const std::string& registry)> plain_http);

/// A blocking client of the cache manager's socket. Thread-safe. Unavailable when nobody answers.
class CachemgrClient {
 public:
  /// `address`: path of the Unix socket.
  static std::unique_ptr<CachemgrClient> Connect(const std::string& address);
  virtual ~CachemgrClient() = default;

  virtual Result<cachemgr::v1::MountReply> Mount(const std::string& id,
                                                 const prepare::MountPlan& plan,
                                                 const std::string& target, bool plain_http) = 0;
  /// Brings a layer without index into the cache (CacheManager.StreamLayer). Takes as long as bytes
  /// come; DeadlineExceeded when nothing is heard for minutes. `progress` may be empty. `cancel`,
  /// when not null, ends the call within a moment after it became true: Cancelled.
  virtual Result<StreamedLayer> StreamLayer(const StreamLayerCall& call,
                                            const StreamProgress& progress,
                                            const std::atomic<bool>* cancel) = 0;
  virtual Result<void> Unmount(const std::string& id, bool detach) = 0;
  virtual Result<cachemgr::v1::StatusReply> Status() = 0;
  virtual Result<cachemgr::v1::ProbeReply> Probe() = 0;
};

}  // namespace floe::client
