#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/mutex.h"
#include "base/result.h"
#include "tests/support/fake_registry_server.h"

namespace floe::testing {

/// What goes wrong with the next requests that match.
struct Fault {
  enum class Kind {
    kStatus,             ///< Answers `status` with `headers` and `body`.
    kIgnoreRange,        ///< 200 with the whole blob to a range request.
    kWrongContentRange,  ///< 206 with the right bytes under a Content-Range one byte too late.
    kWrongLength,        ///< A whole answer, but `bytes` long where the range asks for more.
    kCorrupt,            ///< The right length, the first byte wrong.
    kShortBody,          ///< Announces the full length, ends the connection after `bytes`.
    kReset,              ///< The same with a TCP reset.
    kStall,              ///< The same, but the connection stays open and silent.
    kSlow,               ///< `bytes` at a time, one every `interval`.
    kHang,               ///< Never answers.
    kClose,              ///< Ends the connection instead of answering.
  };
  Kind kind = Kind::kStatus;
  std::string method = "GET";      ///< Empty: any.
  std::string path_contains = {};  ///< Empty: any, but for the token endpoint ("/token").
  int skip = 0;                    ///< Requests that are served well first.
  int times = 1;                   ///< kForever: until ClearFaults().
  int status = 500;
  std::map<std::string, std::string> headers = {};
  std::string body = {};
  uint64_t bytes = 0;
  std::chrono::milliseconds interval{0};

  static constexpr int kForever = std::numeric_limits<int>::max();
};

/// A registry in this process (distribution spec 1.1) on 127.0.0.1 and a free port, over plain
/// HTTP/1.1: blobs, manifests, uploads, referrers, Basic and Bearer authentication, redirects, and
/// faults by script. Everything is kept in memory. Thread-safe; ends in the destructor.
///
///     FakeRegistry registry;
///     Digest digest = registry.AddBlob("library/app", bytes);
///     registry.InjectFault({.kind = Fault::Kind::kReset, .path_contains = "/blobs/", .bytes =
///     10}); client->FetchRange({.repository = {registry.host(), "library/app"}, ...});
///
/// The same class serves as the other host of redirects: see RedirectBlobsTo.
class FakeRegistry {
 public:
  FakeRegistry();
  ~FakeRegistry();
  FakeRegistry(const FakeRegistry&) = delete;
  FakeRegistry& operator=(const FakeRegistry&) = delete;

  /// "127.0.0.1:PORT", what stands in a reference.
  [[nodiscard]] std::string host() const;
  [[nodiscard]] std::string url() const { return "http://" + host(); }
  /// The registry goes away: open connections end, new ones are refused.
  void Stop();

  // --- content ---
  Digest AddBlob(const std::string& repository, std::string bytes);
  /// `tag` may be empty. The manifest's subject, if any, makes it a referrer.
  Digest AddManifest(const std::string& repository, const std::string& tag,
                     const std::string& media_type, std::string bytes);
  /// All blobs and manifests of an OCI image layout; `tag` names the first manifest of index.json.
  /// Returns that manifest's digest.
  Result<Digest> AddOciLayout(const std::string& repository, const std::string& tag,
                              const std::filesystem::path& directory);
  /// Nothing when there is none. `name` is a tag or a digest.
  [[nodiscard]] std::optional<std::string> Blob(const std::string& repository,
                                                const Digest& digest) const;
  [[nodiscard]] std::optional<std::string> ManifestBytes(const std::string& repository,
                                                         const std::string& name) const;
  void RemoveBlob(const std::string& repository, const Digest& digest);

  // --- behaviour ---
  void InjectFault(Fault fault);
  void ClearFaults();
  /// Before each answer.
  void SetLatency(std::chrono::milliseconds latency);
  /// On (default): referrers/ answers and manifests with a subject get OCI-Subject. Off: 404, as
  /// docker-registry 2.8 does.
  void SetReferrersApi(bool on);
  /// Referrers answers hold this many descriptors and a Link to the rest. 0: all at once.
  void SetReferrersPageSize(size_t descriptors);
  /// 401 with a Basic challenge unless these credentials come along. The last of the two Require
  /// calls counts.
  void RequireBasic(const std::string& user, const std::string& password);
  /// 401 with a Bearer challenge whose realm is this registry's /token. Tokens are given to `user`
  /// with `password` (empty user: to anybody) or to `refresh_token`, valid for `lifetime`.
  struct BearerOptions {
    std::string user = {}, password = {}, refresh_token = {};
    std::chrono::seconds lifetime{300};
  };
  void RequireBearer(BearerOptions options);
  /// Every token given so far is refused with a 401 from now on.
  void RevokeTokens();
  /// Blob GETs are answered with a 307 to a signed URL of `storage`, which must outlive this.
  void RedirectBlobsTo(FakeRegistry* storage);
  /// On the storage: signed URLs handed out so far are answered with `status` from now on.
  void ExpireSignatures(int status = 403);

  // --- what happened ---
  [[nodiscard]] std::vector<ServedRequest> requests() const;
  /// Of this method (empty: any) whose path contains the text.
  [[nodiscard]] int CountRequests(const std::string& method,
                                  const std::string& path_contains) const;
  void ForgetRequests();
  [[nodiscard]] uint64_t body_bytes_sent() const;
  [[nodiscard]] int connections() const;
  /// The most requests that were being answered at one moment.
  [[nodiscard]] int max_parallel_requests() const;

 private:
  struct Answer;
  struct StoredManifest {
    std::string media_type;
    std::shared_ptr<const std::string> bytes;
  };
  struct Content {
    std::map<Digest, std::shared_ptr<const std::string>> blobs;
    std::map<Digest, StoredManifest> manifests;
    std::map<std::string, Digest> tags;
    std::map<std::string, std::string> uploads;
  };

  void Handle(const ServedRequest& request, ServedConnection& connection);
  Answer Route(const ServedRequest& request) FLOE_REQUIRES(mutex_);
  Answer RouteRepository(const ServedRequest& request, const std::string& repository,
                         const std::string& rest) FLOE_REQUIRES(mutex_);
  Answer ServeBlob(const ServedRequest& request, Content& content, const std::string& name)
      FLOE_REQUIRES(mutex_);
  Answer ServeStorage(const ServedRequest& request, const std::string& name) FLOE_REQUIRES(mutex_);
  Answer ServeManifest(const ServedRequest& request, Content& content, const std::string& name)
      FLOE_REQUIRES(mutex_);
  Answer StoreManifest(const ServedRequest& request, Content& content, const std::string& name)
      FLOE_REQUIRES(mutex_);
  Answer ServeReferrers(const ServedRequest& request, Content& content, const std::string& name)
      FLOE_REQUIRES(mutex_);
  Answer ServeUpload(const ServedRequest& request, const std::string& repository, Content& content,
                     const std::string& id) FLOE_REQUIRES(mutex_);
  Answer ServeToken(const ServedRequest& request) FLOE_REQUIRES(mutex_);
  std::optional<Answer> Challenge(const ServedRequest& request, const std::string& repository)
      FLOE_REQUIRES(mutex_);
  std::optional<Fault> TakeFault(const ServedRequest& request) FLOE_REQUIRES(mutex_);
  std::string SignedUrl(const Digest& digest, std::shared_ptr<const std::string> bytes)
      FLOE_EXCLUDES(mutex_);
  void Send(const ServedRequest& request, const Answer& answer, const std::optional<Fault>& fault,
            ServedConnection& connection);
  void SendBody(std::string_view body, const std::optional<Fault>& fault,
                ServedConnection& connection);

  mutable Mutex mutex_;
  std::map<std::string, Content> repositories_ FLOE_GUARDED_BY(mutex_);
  std::map<Digest, std::shared_ptr<const std::string>> storage_ FLOE_GUARDED_BY(mutex_);
  std::vector<Fault> faults_ FLOE_GUARDED_BY(mutex_);
  std::chrono::milliseconds latency_ FLOE_GUARDED_BY(mutex_){0};
  bool referrers_api_ FLOE_GUARDED_BY(mutex_) = true;
  size_t referrers_page_ FLOE_GUARDED_BY(mutex_) = 0;
  std::string basic_ FLOE_GUARDED_BY(mutex_);  ///< The Authorization header that is right.
  std::optional<BearerOptions> bearer_ FLOE_GUARDED_BY(mutex_);
  std::map<std::string, std::string> tokens_ FLOE_GUARDED_BY(mutex_);  ///< Token -> scope.
  FakeRegistry* redirect_to_ FLOE_GUARDED_BY(mutex_) = nullptr;
  int signature_ FLOE_GUARDED_BY(mutex_) = 1;
  int expired_status_ FLOE_GUARDED_BY(mutex_) = 403;
  int next_id_ FLOE_GUARDED_BY(mutex_) = 1;
  int running_ FLOE_GUARDED_BY(mutex_) = 0;
  int max_running_ FLOE_GUARDED_BY(mutex_) = 0;
  uint64_t body_bytes_ FLOE_GUARDED_BY(mutex_) = 0;
  std::vector<ServedRequest> log_ FLOE_GUARDED_BY(mutex_);
  FakeHttpServer server_;  ///< Last: its threads end first.
};

/// base64(user:password) as Basic authentication sends it.
std::string BasicAuthorization(const std::string& user, const std::string& password);

}  // namespace floe::testing
