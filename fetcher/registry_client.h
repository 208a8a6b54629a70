#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_range.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/result.h"
#include "fetcher/reference.h"

namespace floe::fetcher {

/// Bytes of a manifest with the digest that they were checked against.
struct Manifest {
  std::string media_type;
  Digest digest;
  std::string bytes;
};

/// An OCI descriptor as referrers lists hold it.
struct ReferrerDescriptor {
  std::string media_type;
  std::string artifact_type;
  Digest digest;
  uint64_t size_bytes = 0;
};

struct RegistryOptions {
  /// Registries ("host[:port]") spoken to over plain HTTP. Loopback hosts need no entry: they are
  /// tried with TLS only when the port says so (443, or no port), else plain.
  std::vector<std::string> plain_http = {};
  std::string ca_file = {};  ///< PEM, added to the system's; empty: only the system's.
  /// Empty: $DOCKER_CONFIG, else ~/.docker. Read anew when it changes.
  std::string docker_config_dir = {};
  std::string user_agent = "floe";
  int max_connections_per_host = 8;
  bool http2 = true;
  std::chrono::milliseconds connect_timeout{10000};
  std::chrono::milliseconds stall_timeout{20000};
  int max_attempts = 4;  ///< Of an idempotent request that fails with Unavailable.
  /// Before the second attempt, with jitter; doubled before each further one.
  std::chrono::milliseconds retry_delay{100};
};

/// One on-demand read of a blob.
struct RangeRequest {
  Repository repository;
  Digest digest;
  ByteRange range;
  /// What the blob's size is known to be: a registry that names another one lies.
  std::optional<uint64_t> blob_bytes = {};
  Deadline deadline = {};
  /// There is nobody else to ask: transient failures are tried again, with back-off, until there is
  /// no time for another attempt (DeadlineExceeded), and not only RegistryOptions::max_attempts
  /// times.
  bool until_deadline = false;
  /// Told of each failed attempt that is followed by another one, on the fetch loop's thread; must
  /// not block. Not told of the last one, which is the result.
  std::function<void(const Error&)> on_retry = {};
};

/// Cancels its fetch when destroyed before completion (the callback then runs with Cancelled).
class FetchHandle {
 public:
  virtual ~FetchHandle() = default;
  virtual void Cancel() = 0;
};

/// A registry, as the distribution spec 1.1 describes it. Thread-safe. Owns the fetch loop's
/// thread. Authentication (Basic, Bearer tokens, docker config.json with credential helpers),
/// redirects (the Authorization header never goes to another host), retries with back-off, and
/// redaction of secrets are its business. Errors: NotFound (404), Unauthenticated (401),
/// PermissionDenied (403), Unavailable (network, 5xx), ResourceExhausted (429, with retry_after),
/// DataLoss (digest, length, status 200 to a range, wrong Content-Range), DeadlineExceeded,
/// Cancelled. Error::fault says what the registry did.
class RegistryClient {
 public:
  using RangeCallback = std::function<void(Result<std::string>)>;
  using Sink = std::function<Result<void>(std::span<const std::byte>)>;

  static Result<std::unique_ptr<RegistryClient>> Create(const RegistryOptions& options);
  virtual ~RegistryClient() = default;

  // --- on-demand reads ---
  /// Exactly the bytes of the range: status 206, Content-Range and length checked. `done` runs
  /// exactly once, on the fetch loop's thread, and must not block: hand over to a worker.
  virtual std::unique_ptr<FetchHandle> FetchRange(RangeRequest request, RangeCallback done) = 0;

  // --- control plane; blocking, never on the fetch loop's thread ---
  Result<std::string> FetchRangeSync(RangeRequest request);
  /// By tag or digest; when a digest is given or the registry names one the bytes are checked. <= 4
  /// MiB.
  virtual Result<Manifest> GetManifest(const Repository& repository, const std::string& name,
                                       Deadline deadline) = 0;
  /// A whole small blob, digest and size checked. ResourceExhausted beyond `limit_bytes`.
  virtual Result<std::string> GetBlob(const Repository& repository, const Digest& digest,
                                      uint64_t limit_bytes, Deadline deadline) = 0;
  /// Streams a whole blob in order into `sink` on the calling thread; resumes by range after a lost
  /// connection. The digest is the caller's business (the sink sees every byte once, in order).
  /// While nothing comes the sink is called about every second without bytes, so that it may give
  /// up. With an infinite deadline only a lack of progress ends the stream (stall_timeout).
  virtual Result<void> StreamBlob(const Repository& repository, const Digest& digest,
                                  uint64_t size_bytes, const Sink& sink, Deadline deadline) = 0;
  /// Referrers API, else the fallback tag sha256-<hex> (distribution spec 1.1). Empty when there
  /// are none.
  virtual Result<std::vector<ReferrerDescriptor>> ListReferrers(const Repository& repository,
                                                                const Digest& subject,
                                                                std::string_view artifact_type,
                                                                Deadline deadline) = 0;
  /// True when the blob is there (HEAD).
  virtual Result<bool> HasBlob(const Repository& repository, const Digest& digest,
                               Deadline deadline) = 0;
  virtual Result<void> PushBlob(const Repository& repository, const Digest& digest,
                                std::string_view bytes, Deadline deadline) = 0;
  /// Returns true when the registry processed the manifest's subject itself (OCI-Subject header).
  virtual Result<bool> PushManifest(const Repository& repository, const std::string& name,
                                    std::string_view media_type, std::string_view bytes,
                                    Deadline deadline) = 0;

  /// Requests sent and body bytes received since the start, for `floe status` and the tests.
  struct Counters {
    uint64_t requests = 0;
    uint64_t body_bytes = 0;
  };
  [[nodiscard]] virtual Counters counters() const = 0;
};

/// Adds `descriptor` to the fallback tag of `subject` (an index, read, changed and pushed), for
/// registries without the Referrers API.
Result<void> AddToFallbackTag(RegistryClient& client, const Repository& repository,
                              const Digest& subject, const ReferrerDescriptor& descriptor,
                              Deadline deadline);

}  // namespace floe::fetcher
