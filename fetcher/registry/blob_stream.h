#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>

#include "base/clock.h"
#include "base/digest.h"
#include "base/mutex.h"
#include "base/result.h"
#include "fetcher/reference.h"
#include "fetcher/registry/registry_session.h"
#include "fetcher/registry_client.h"

namespace floe::fetcher {

/// Streams one blob from the loop's thread to the calling one. What the caller's sink has not taken
/// yet is kept here, within kHighBytes and one receive buffer: beyond that the transfer is paused
/// until the sink has caught up.
class BlobStream {
 public:
  static constexpr uint64_t kHighBytes = 8U << 20U;
  static constexpr uint64_t kLowBytes = 4U << 20U;

  /// `session` must outlive this.
  BlobStream(RegistrySession& session, Repository repository, const Digest& digest,
             uint64_t size_bytes, Deadline deadline)
      : session_(session),
        repository_(std::move(repository)),
        digest_(digest),
        size_bytes_(size_bytes),
        deadline_(deadline) {}

  /// As RegistryClient::StreamBlob. Call it once.
  Result<void> Run(const RegistryClient::Sink& sink);

 private:
  /// What the two threads share; outlives the stream until the last call has ended.
  struct Queue {
    void Push(std::span<const std::byte> bytes) FLOE_EXCLUDES(mutex);

    Mutex mutex;
    CondVar changed;
    std::deque<std::string> chunks FLOE_GUARDED_BY(mutex);
    uint64_t queued_bytes FLOE_GUARDED_BY(mutex) = 0;
    bool paused FLOE_GUARDED_BY(mutex) = false;
    bool ended FLOE_GUARDED_BY(mutex) = false;
    Result<void> result FLOE_GUARDED_BY(mutex);
  };

  /// One request from `offset_` on; success when it brought everything.
  Result<void> StreamOnce(const RegistryClient::Sink& sink);
  [[nodiscard]] RegistryRequest MakeRequest() const;
  /// Hands chunks to the sink until the call has ended and all is taken, or the sink fails.
  Result<void> Drain(Queue& queue, const CallHandle& call, const RegistryClient::Sink& sink);

  RegistrySession& session_;
  const Repository repository_;
  const Digest digest_;
  const uint64_t size_bytes_;
  const Deadline deadline_;
  uint64_t offset_ = 0;  ///< Bytes that the sink took.
  bool sink_failed_ = false;
};

}  // namespace floe::fetcher
