#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "fetcher/registry_client.h"

namespace floe::testing {

/// A registry in memory, without HTTP: blobs, manifests, tags, the Referrers API or fallback tags.
/// It keeps the promises of RegistryClient (digests checked, NotFound, limits) and breaks them only
/// where a test says so. Thread-safe; all functions but the hook's own are meant for any thread.
class MemoryRegistryClient final : public fetcher::RegistryClient {
 public:
  /// One request, as `calls()` lists it: "GetManifest latest", "GetBlob sha256:...". Verbs are the
  /// names of the functions; FetchRange, StreamBlob, ListReferrers, HasBlob, PushBlob and
  /// PushManifest likewise.
  using CallHook = std::function<void(const std::string& call)>;

  MemoryRegistryClient();
  ~MemoryRegistryClient() override;
  MemoryRegistryClient(const MemoryRegistryClient&) = delete;
  MemoryRegistryClient& operator=(const MemoryRegistryClient&) = delete;

  // --- what it holds ---
  Digest AddBlob(const fetcher::Repository& repository, std::string bytes);
  /// What is found under `digest` from now on, whatever its own digest is.
  void ReplaceBlob(const fetcher::Repository& repository, const Digest& digest, std::string bytes);
  void RemoveBlob(const fetcher::Repository& repository, const Digest& digest);
  /// Under its digest, and under `tag` when that is not empty. A subject in it is listed.
  Digest AddManifest(const fetcher::Repository& repository, const std::string& tag,
                     std::string media_type, std::string bytes);
  void RemoveManifest(const fetcher::Repository& repository, const Digest& digest);
  [[nodiscard]] std::optional<std::string> BlobBytes(const fetcher::Repository& repository,
                                                     const Digest& digest) const;
  /// By tag or digest.
  [[nodiscard]] std::optional<fetcher::Manifest> FindManifest(const fetcher::Repository& repository,
                                                              const std::string& name) const;
  [[nodiscard]] size_t blob_count(const fetcher::Repository& repository) const;
  [[nodiscard]] size_t manifest_count(const fetcher::Repository& repository) const;

  // --- how it behaves ---
  /// False: PushManifest does not process subjects and ListReferrers reads the fallback tag.
  void EnableReferrersApi(bool enabled);
  /// Every call whose text contains `call_contains` fails with `error`, until ClearFailures.
  void FailCalls(std::string call_contains, Error error);
  void ClearFailures();
  /// Runs at the start of every call, on its thread, without any lock of this: it may block until
  /// other calls have come, which is how tests see that calls run at the same time.
  void OnCall(CallHook hook);

  // --- what happened ---
  [[nodiscard]] std::vector<std::string> calls() const;
  [[nodiscard]] size_t CountCalls(std::string_view call_contains) const;
  void ForgetCalls();
  /// The most calls that were under way at one moment.
  [[nodiscard]] int max_parallel_calls() const;

  // --- RegistryClient ---
  std::unique_ptr<fetcher::FetchHandle> FetchRange(fetcher::RangeRequest request,
                                                   RangeCallback done) override;
  Result<fetcher::Manifest> GetManifest(const fetcher::Repository& repository,
                                        const std::string& name, Deadline deadline) override;
  Result<std::string> GetBlob(const fetcher::Repository& repository, const Digest& digest,
                              uint64_t limit_bytes, Deadline deadline) override;
  /// In pieces of 64 KiB, so that the sink sees more than one.
  Result<void> StreamBlob(const fetcher::Repository& repository, const Digest& digest,
                          uint64_t size_bytes, const Sink& sink, Deadline deadline) override;
  Result<std::vector<fetcher::ReferrerDescriptor>> ListReferrers(
      const fetcher::Repository& repository, const Digest& subject, std::string_view artifact_type,
      Deadline deadline) override;
  Result<bool> HasBlob(const fetcher::Repository& repository, const Digest& digest,
                       Deadline deadline) override;
  Result<void> PushBlob(const fetcher::Repository& repository, const Digest& digest,
                        std::string_view bytes, Deadline deadline) override;
  Result<bool> PushManifest(const fetcher::Repository& repository, const std::string& name,
                            std::string_view media_type, std::string_view bytes,
                            Deadline deadline) override;
  [[nodiscard]] Counters counters() const override;

 private:
  struct Content {
    std::map<Digest, std::string> blobs;
    std::map<Digest, fetcher::Manifest> manifests;
    std::map<std::string, Digest> tags;
    std::map<Digest, std::vector<fetcher::ReferrerDescriptor>> referrers;  ///< In push order.
  };
  struct Failure {
    std::string call_contains;
    Error error;
  };
  class Call;
  class Loop;

  Result<void> Begin(const std::string& call, Deadline deadline);
  void End();
  Result<std::string> ReadRange(const fetcher::Repository& repository, const Digest& digest,
                                ByteRange range);
  Result<std::string> StoredBlob(const fetcher::Repository& repository, const Digest& digest) const;
  Result<void> CheckParts(const fetcher::Repository& repository, std::string_view bytes) const;
  Digest StoreManifest(const fetcher::Repository& repository, const std::string& tag,
                       fetcher::Manifest manifest) FLOE_REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::map<fetcher::Repository, Content> repositories_ FLOE_GUARDED_BY(mutex_);
  bool referrers_api_ FLOE_GUARDED_BY(mutex_) = true;
  std::vector<Failure> failures_ FLOE_GUARDED_BY(mutex_);
  CallHook hook_ FLOE_GUARDED_BY(mutex_);
  std::vector<std::string> calls_ FLOE_GUARDED_BY(mutex_);
  int running_ FLOE_GUARDED_BY(mutex_) = 0;
  int max_running_ FLOE_GUARDED_BY(mutex_) = 0;
  Counters counters_ FLOE_GUARDED_BY(mutex_);
  std::unique_ptr<Loop> loop_;  ///< Last: its thread runs callbacks that use this.
};

}  // namespace floe::testing
