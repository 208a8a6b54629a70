#include "fetcher/registry_client.h"

#include <algorithm>
#include <future>
#include <utility>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "fetcher/http/content_range.h"
#include "fetcher/redact.h"
#include "fetcher/registry/blob_stream.h"
#include "fetcher/registry/media_types.h"
#include "fetcher/registry/referrers.h"
#include "fetcher/registry/registry_session.h"

namespace floe::fetcher {
namespace {

constexpr uint64_t kMaxManifestBytes = 4U << 20U;
constexpr int kMaxReferrersPages = 50;
// An answer without Content-Length may be longer than its range; it is refused all the same.
constexpr uint64_t kRangeSlackBytes = 4096;

Result<std::string> ManifestPath(const std::string& name) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-";
  if (name.empty() || name.find_first_not_of(kAllowed) != std::string::npos ||
      name.front() == '.') {
    return InvalidArgument("'{}' is neither a tag nor a digest", RedactText(name));
  }
  return "manifests/" + name;
}

std::string BlobPath(const Digest& digest) { return "blobs/" + digest.ToString(); }

/// Content-Type without parameters; where it says nothing, what the manifest says of itself.
std::string MediaTypeOf(const HttpResponse& response) {
  std::string type = response.Header("content-type");
  type = type.substr(0, type.find_first_of("; "));
  if (type.starts_with("application/vnd.")) {
    return type;
  }
  nlohmann::json json = nlohmann::json::parse(response.body, nullptr, /*allow_exceptions=*/false);
  bool says = json.is_object() && json.contains("mediaType") && json["mediaType"].is_string();
  return says ? json["mediaType"].get<std::string>() : type;
}

/// An upload's location. Behind a proxy that ends TLS registries believe to speak plain HTTP.
Result<Url> UploadUrl(const RegistryAnswer& answer, const Digest& digest) {
  std::string location = answer.response.Header("location");
  Result<Url> url = answer.url.Resolve(location);
  if (location.empty() || !url) {
    return Unknown("upload started at a bad Location");
  }
  if (url->host == answer.url.host && answer.url.scheme == "https" && url->scheme == "http") {
    url->scheme = answer.url.scheme;
    url->port = answer.url.port;
  }
  url->target += url->target.find('?') == std::string::npos ? "?" : "&";
  url->target += "digest=" + PercentEncode(digest.ToString());
  return url;
}

class RangeFetch final : public FetchHandle {
 public:
  explicit RangeFetch(CallHandle call) : call_(std::move(call)) {}
  ~RangeFetch() override { call_.Cancel(); }
  void Cancel() override { call_.Cancel(); }

 private:
  const CallHandle call_;
};

class RegistryClientImpl final : public RegistryClient {
 public:
  explicit RegistryClientImpl(std::unique_ptr<RegistrySession> session)
      : session_(std::move(session)) {}

  std::unique_ptr<FetchHandle> FetchRange(RangeRequest wanted, RangeCallback done) override;
  Result<Manifest> GetManifest(const Repository& repository, const std::string& name,
                               Deadline deadline) override;
  Result<std::string> GetBlob(const Repository& repository, const Digest& digest,
                              uint64_t limit_bytes, Deadline deadline) override;
  Result<void> StreamBlob(const Repository& repository, const Digest& digest, uint64_t size_bytes,
                          const Sink& sink, Deadline deadline) override {
    return BlobStream(*session_, repository, digest, size_bytes, deadline).Run(sink);
  }
  Result<std::vector<ReferrerDescriptor>> ListReferrers(const Repository& repository,
                                                        const Digest& subject,
                                                        std::string_view artifact_type,
                                                        Deadline deadline) override;
  Result<bool> HasBlob(const Repository& repository, const Digest& digest,
                       Deadline deadline) override;
  Result<void> PushBlob(const Repository& repository, const Digest& digest, std::string_view bytes,
                        Deadline deadline) override;
  Result<bool> PushManifest(const Repository& repository, const std::string& name,
                            std::string_view media_type, std::string_view bytes,
                            Deadline deadline) override;
  [[nodiscard]] Counters counters() const override {
    CurlTransport::Counters counters = session_->counters();
    return {.requests = counters.requests, .body_bytes = counters.body_bytes};
  }

 private:
  static RegistryRequest Request(const Repository& repository, std::string path,
                                 Deadline deadline) {
    RegistryRequest request;
    request.repository = repository;
    request.path = std::move(path);
    request.deadline = deadline;
    return request;
  }
  Result<std::vector<ReferrerDescriptor>> ListWithApi(const Repository& repository,
                                                      const Digest& subject,
                                                      std::string_view artifact_type,
                                                      Deadline deadline);
  /// One upload from its start.
  Result<void> Upload(const Repository& repository, const Digest& digest, std::string_view bytes,
                      Deadline deadline);

  const std::unique_ptr<RegistrySession> session_;
};

std::unique_ptr<FetchHandle> RegistryClientImpl::FetchRange(RangeRequest wanted,
                                                            RangeCallback done) {
  const ByteRange range = wanted.range;
  const Digest digest = wanted.digest;
  if (!range.IsValid() || range.empty()) {
    session_->Post([digest, range, done = std::move(done)] {
      done(InvalidArgument("bytes [{}, +{}) of blob {}", range.offset, range.length,
                           digest.ToString()));
    });
    return std::make_unique<RangeFetch>(CallHandle());
  }
  RegistryRequest request = Request(wanted.repository, BlobPath(digest), wanted.deadline);
  request.blob = digest;
  request.until_deadline = wanted.until_deadline;
  request.headers.emplace("Range", RangeHeader(range));
  request.max_body_bytes = range.length + kRangeSlackBytes;
  request.expected_body_bytes = range.length;
  request.on_headers = [range, blob_bytes = wanted.blob_bytes](const HttpResponse& response) {
    return CheckRangeAnswer(response, range, blob_bytes);
  };
  request.on_retry = std::move(wanted.on_retry);
  RegistryCall::Done finish = [range, digest,
                               done = std::move(done)](Result<RegistryAnswer> answer) {
    if (!answer) {
      done(WithContext(std::move(answer).error(),
                       fmt::format("bytes [{}, {})", range.offset, range.end())));
    } else if (answer->response.body.size() != range.length) {
      done(WithFault(
          DataLoss("{} bytes instead of [{}, {}) of blob {}", answer->response.body.size(),
                   range.offset, range.end(), digest.ToString()),
          FaultKind::kWrongSize));
    } else {
      done(std::move(answer->response.body));
    }
  };
  return std::make_unique<RangeFetch>(session_->Start(std::move(request), std::move(finish)));
}

Result<Manifest> RegistryClientImpl::GetManifest(const Repository& repository,
                                                 const std::string& name, Deadline deadline) {
  FLOE_ASSIGN_OR_RETURN(std::string path, ManifestPath(name));
  RegistryRequest request = Request(repository, std::move(path), deadline);
  request.max_body_bytes = kMaxManifestBytes;
  request.headers.emplace("Accept", fmt::format("{}", fmt::join(kManifestMediaTypes, ", ")));
  FLOE_ASSIGN_OR_RETURN(RegistryAnswer answer, session_->Run(std::move(request)));
  Manifest manifest;
  manifest.digest = Digest::Of(answer.response.body);
  Result<Digest> named = Digest::Parse(name);
  Result<Digest> announced = Digest::Parse(answer.response.Header("docker-content-digest"));
  for (const Result<Digest>* wanted : {&named, &announced}) {
    if (*wanted && **wanted != manifest.digest) {
      return DataLoss("manifest {}/{}: digest {} instead of {}", repository.ToString(), name,
                      manifest.digest.ToString(), (*wanted)->ToString());
    }
  }
  manifest.media_type = MediaTypeOf(answer.response);
  manifest.bytes = std::move(answer.response.body);
  return manifest;
}

Result<std::string> RegistryClientImpl::GetBlob(const Repository& repository, const Digest& digest,
                                                uint64_t limit_bytes, Deadline deadline) {
  RegistryRequest request = Request(repository, BlobPath(digest), deadline);
  request.blob = digest;
  request.max_body_bytes = limit_bytes;
  FLOE_ASSIGN_OR_RETURN(RegistryAnswer answer, session_->Run(std::move(request)));
  std::string bytes = std::move(answer.response.body);
  if (Digest::Of(bytes) != digest) {
    return DataLoss("blob {}: its {} bytes have another digest", digest.ToString(), bytes.size());
  }
  return bytes;
}

Result<std::vector<ReferrerDescriptor>> RegistryClientImpl::ListReferrers(
    const Repository& repository, const Digest& subject, std::string_view artifact_type,
    Deadline deadline) {
  Result<std::vector<ReferrerDescriptor>> referrers =
      ListWithApi(repository, subject, artifact_type, deadline);
  bool no_api = !referrers && (referrers.error().code == ErrorCode::kNotFound ||
                               referrers.error().code == ErrorCode::kUnimplemented);
  if (no_api) {
    Result<Manifest> index = GetManifest(repository, FallbackTag(subject), deadline);
    if (!index && index.error().code == ErrorCode::kNotFound) {
      return std::vector<ReferrerDescriptor>();
    }
    referrers = index ? ParseReferrers(index->bytes)
                      : Result<std::vector<ReferrerDescriptor>>(std::move(index).error());
  }
  if (referrers && !artifact_type.empty()) {
    // Registries may ignore the filter.
    std::erase_if(*referrers,
                  [&](const ReferrerDescriptor& r) { return r.artifact_type != artifact_type; });
  }
  return referrers;
}

Result<std::vector<ReferrerDescriptor>> RegistryClientImpl::ListWithApi(
    const Repository& repository, const Digest& subject, std::string_view artifact_type,
    Deadline deadline) {
  RegistryRequest request = Request(repository, "referrers/" + subject.ToString(), deadline);
  if (!artifact_type.empty()) {
    request.path += "?artifactType=" + PercentEncode(artifact_type);
  }
  std::vector<ReferrerDescriptor> all;
  for (int page = 0; page < kMaxReferrersPages; ++page) {
    request.headers = {{"Accept", std::string(kOciIndexMediaType)}};
    request.max_body_bytes = kMaxManifestBytes;
    FLOE_ASSIGN_OR_RETURN(RegistryAnswer answer, session_->Run(request));
    FLOE_ASSIGN_OR_RETURN(std::vector<ReferrerDescriptor> more,
                          ParseReferrers(answer.response.body));
    std::move(more.begin(), more.end(), std::back_inserter(all));
    std::string next = NextPage(answer.response.Header("link"));
    if (next.empty()) {
      break;
    }
    FLOE_ASSIGN_OR_RETURN(request.url, answer.url.Resolve(next));
  }
  return all;
}

Result<bool> RegistryClientImpl::HasBlob(const Repository& repository, const Digest& digest,
                                         Deadline deadline) {
  RegistryRequest request = Request(repository, BlobPath(digest), deadline);
  request.method = "HEAD";
  // A redirect is a yes: signed URLs of object stores are good for GET only.
  request.follow_redirects = false;
  Result<RegistryAnswer> answer = session_->Run(std::move(request));
  if (!answer && answer.error().code == ErrorCode::kNotFound) {
    return false;
  }
  return answer ? Result<bool>(true) : Result<bool>(std::move(answer).error());
}

Result<void> RegistryClientImpl::PushBlob(const Repository& repository, const Digest& digest,
                                          std::string_view bytes, Deadline deadline) {
  // Each request of an upload changes the upload's state, so it is sent once only. An upload from
  // its start is as good as new.
  for (int attempt = 1;; ++attempt) {
    Result<void> result = Upload(repository, digest, bytes, deadline);
    bool again = !result && result.error().code == ErrorCode::kUnavailable &&
                 attempt < session_->options().max_attempts && !deadline.Expired();
    if (!again) {
      return result;
    }
  }
}

Result<void> RegistryClientImpl::Upload(const Repository& repository, const Digest& digest,
                                        std::string_view bytes, Deadline deadline) {
  // An abandoned upload costs the registry little: starting one may be tried again, with back-off.
  RegistryRequest start = Request(repository, "blobs/uploads/", deadline);
  start.method = "POST";
  start.push = true;
  FLOE_ASSIGN_OR_RETURN(RegistryAnswer started, session_->Run(std::move(start)));
  RegistryRequest put = Request(repository, "", deadline);
  put.method = "PUT";
  put.push = true;
  put.idempotent = false;
  put.headers.emplace("Content-Type", "application/octet-stream");
  put.body = bytes;
  FLOE_ASSIGN_OR_RETURN(put.url, UploadUrl(started, digest));
  Result<RegistryAnswer> done = session_->Run(std::move(put));
  if (!done && done.error().code == ErrorCode::kNotFound) {
    // libcurl sends again what a kept connection lost, and the registry may have been done already.
    return Unavailable("{}", done.error().message);
  }
  return done ? Ok() : Result<void>(std::move(done).error());
}

Result<bool> RegistryClientImpl::PushManifest(const Repository& repository, const std::string& name,
                                              std::string_view media_type, std::string_view bytes,
                                              Deadline deadline) {
  FLOE_ASSIGN_OR_RETURN(std::string path, ManifestPath(name));
  RegistryRequest request = Request(repository, std::move(path), deadline);
  request.method = "PUT";
  request.push = true;
  request.headers.emplace("Content-Type", media_type);
  request.body = bytes;
  FLOE_ASSIGN_OR_RETURN(RegistryAnswer answer, session_->Run(std::move(request)));
  Result<Digest> stored = Digest::Parse(answer.response.Header("docker-content-digest"));
  if (stored && *stored != Digest::Of(bytes)) {
    return DataLoss("manifest {}/{}: stored as {}", repository.ToString(), name,
                    stored->ToString());
  }
  return !answer.response.Header("oci-subject").empty();
}

}  // namespace

Result<std::string> RegistryClient::FetchRangeSync(RangeRequest request) {
  std::promise<Result<std::string>> promise;
  std::future<Result<std::string>> future = promise.get_future();
  std::unique_ptr<FetchHandle> handle =
      FetchRange(std::move(request),
                 [&promise](Result<std::string> bytes) { promise.set_value(std::move(bytes)); });
  return future.get();
}

Result<std::unique_ptr<RegistryClient>> RegistryClient::Create(const RegistryOptions& options) {
  FLOE_ASSIGN_OR_RETURN(std::unique_ptr<RegistrySession> session, RegistrySession::Create(options));
  return std::unique_ptr<RegistryClient>(std::make_unique<RegistryClientImpl>(std::move(session)));
}

}  // namespace floe::fetcher
