#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "cachemgr/cache/blob_store.h"
#include "cachemgr/cache/counters.h"
#include "cachemgr/cache/fault_log.h"
#include "cachemgr/cache/sources.h"
#include "cachemgr/stream/layer_pass.h"
#include "cachemgr/stream/stream_flights.h"
#include "cachemgr/stream/streamed_layer.h"

namespace floe::cachemgr {

/// Brings layers that have no index into the cache: each is downloaded once, and indexed, verified
/// and written in that one pass. Nothing of it is visible before all its digests matched; then its
/// blob is whole, can be mounted as it is, and becomes durable with the next checkpoint.
/// Thread-safe: each call runs on the thread of its caller.
class LayerStreamer {
 public:
  /// So many downloads at once; further calls wait for their turn.
  static constexpr size_t kMaxStreams = 4;

  struct Options {
    std::filesystem::path blobs;  ///< The store's directory.
    std::string boot_id;
    MakeRoom make_room = [] { return false; };
  };
  /// All must outlive this.
  LayerStreamer(Options options, RegistryClients& clients, BlobStore& store, Counters& counters,
                const Clock& clock);

  /// The sources are asked in order; where one fails in the middle, the next goes on. There is no
  /// deadline: what moves goes on, what does not ends with the registry client's own timeouts. A
  /// second call for the same layer waits for the first and gets what that gets; when the first is
  /// cancelled the second starts anew. A layer whose blob is whole in the cache is read again
  /// for its index, and not written.
  /// InvalidArgument: what is no layer, or no request; DataLoss: digests that do not match;
  /// Unimplemented: a layer that cannot be indexed; ResourceExhausted: the disk is full;
  /// Cancelled; and what the registry said. Nothing of a stream that fails stays.
  Result<std::shared_ptr<const StreamedLayer>> Stream(const StreamRequest& request,
                                                      const StreamControl& control);
  /// Ends every stream soon, and every further one at once, with Cancelled.
  void Stop() { stopping_ = true; }

 private:
  Result<StreamedLayer> Run(const StreamRequest& request, const StreamControl& control);
  /// One pass, or another one when a source has other bytes than the digests say.
  Result<LayerPass::Finished> RunPass(const StreamRequest& request, const StreamControl& control,
                                      bool writes);
  /// From the sources from `source` on, as Download.
  Result<LayerPass::Finished> RunOnce(const StreamRequest& request, const StreamControl& control,
                                      bool writes, size_t& source);
  /// From the sources from `source` on, which moves to the last one that was asked.
  Result<void> Download(const StreamRequest& request, const StreamControl& control, LayerPass& pass,
                        size_t& source);
  /// What `pass` has had already is passed over. `taken`: what the pass said of its bytes.
  Result<void> DownloadFrom(const Source& source, const StreamRequest& request,
                            const StreamControl& control, LayerPass& pass, Result<void>& taken);
  Result<void> Adopt(const StreamRequest& request, const LayerPass::Finished& finished);
  [[nodiscard]] bool HasWhole(const Digest& blob_digest, const std::string& key);
  void CountFailure(const StreamRequest& request, const Error& error);
  void Report(const StreamRequest& request, const Source& source, const Error& error, bool retried);

  const Options options_;
  RegistryClients& clients_;
  BlobStore& store_;
  Counters& counters_;
  FaultLog faults_;
  StreamFlights flights_{kMaxStreams};
  std::atomic<bool> stopping_ = false;
};

}  // namespace floe::cachemgr
