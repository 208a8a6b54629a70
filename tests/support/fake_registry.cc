#include "tests/support/fake_registry.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>

#include "base/file.h"
#include "tests/support/fake_registry_answer.h"

namespace floe::testing {

using Json = nlohmann::json;

namespace {

constexpr std::string_view kIndexMediaType = "application/vnd.oci.image.index.v1+json";
constexpr size_t kManifestLimitBytes = 4U << 20U;

std::shared_ptr<const std::string> Share(std::string bytes) {
  return std::make_shared<const std::string>(std::move(bytes));
}

/// "bytes=A-B" within a body of this size; nothing when it cannot be satisfied.
std::optional<std::pair<uint64_t, uint64_t>> ParseRange(std::string_view text, uint64_t size) {
  uint64_t first = 0;
  uint64_t last = size - 1;
  if (!text.starts_with("bytes=") || size == 0) {
    return std::nullopt;
  }
  text.remove_prefix(6);
  auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), first);
  const char* end = text.data() + text.size();
  if (error != std::errc() || rest == end || *rest != '-' || first >= size) {
    return std::nullopt;
  }
  if (rest + 1 != end) {
    std::from_chars(rest + 1, end, last);
  }
  return std::pair(first, std::min(last, size - 1));
}

std::string JsonText(const Json& json, const char* key) {
  auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

std::string BasicAuthorization(const std::string& user, const std::string& password) {
  std::string plain = user + ":" + password;
  std::string encoded(plain.size() * 4 / 3 + 8, '\0');
  std::vector<unsigned char> raw(plain.begin(), plain.end());
  std::vector<unsigned char> text(encoded.size());
  int length = EVP_EncodeBlock(text.data(), raw.data(), static_cast<int>(raw.size()));
  return "Basic " + std::string(text.begin(), text.begin() + length);
}

FakeRegistry::FakeRegistry()
    : server_([this](const ServedRequest& request, ServedConnection& connection) {
        Handle(request, connection);
      }) {}
FakeRegistry::~FakeRegistry() { Stop(); }

std::string FakeRegistry::host() const { return fmt::format("127.0.0.1:{}", server_.port()); }
void FakeRegistry::Stop() { server_.Stop(); }
int FakeRegistry::connections() const { return server_.connections(); }

// --- content ---

Digest FakeRegistry::AddBlob(const std::string& repository, std::string bytes) {
  Digest digest = Digest::Of(bytes);
  MutexLock lock(mutex_);
  repositories_[repository].blobs[digest] = Share(std::move(bytes));
  return digest;
}

Digest FakeRegistry::AddManifest(const std::string& repository, const std::string& tag,
                                 const std::string& media_type, std::string bytes) {
  Digest digest = Digest::Of(bytes);
  MutexLock lock(mutex_);
  Content& content = repositories_[repository];
  content.manifests[digest] = {media_type, Share(std::move(bytes))};
  if (!tag.empty()) {
    content.tags[tag] = digest;
  }
  return digest;
}

Result<Digest> FakeRegistry::AddOciLayout(const std::string& repository, const std::string& tag,
                                          const std::filesystem::path& directory) {
  FLOE_ASSIGN_OR_RETURN(std::string text, ReadFile(directory / "index.json"));
  Json index = Json::parse(text, nullptr, false);
  if (!index.is_object() || !index["manifests"].is_array() || index["manifests"].empty()) {
    return InvalidArgument("{}: no manifests in index.json", directory.native());
  }
  for (const auto& entry : std::filesystem::directory_iterator(directory / "blobs" / "sha256")) {
    FLOE_ASSIGN_OR_RETURN(std::string bytes, ReadFile(entry.path(), 1ULL << 30U));
    Json json;
    if (bytes.size() < kManifestLimitBytes) {
      json = Json::parse(bytes, nullptr, false);
    }
    if (json.is_object() && (json.contains("layers") || json.contains("manifests"))) {
      std::string type = JsonText(json, "mediaType");
      AddManifest(repository, "", type.empty() ? std::string(kIndexMediaType) : type, bytes);
    }
    AddBlob(repository, std::move(bytes));
  }
  for (const Json& descriptor : index["manifests"]) {
    FLOE_ASSIGN_OR_RETURN(Digest digest, Digest::Parse(JsonText(descriptor, "digest")));
    MutexLock lock(mutex_);
    repositories_[repository].manifests[digest].media_type = JsonText(descriptor, "mediaType");
  }
  FLOE_ASSIGN_OR_RETURN(Digest first, Digest::Parse(JsonText(index["manifests"][0], "digest")));
  MutexLock lock(mutex_);
  repositories_[repository].tags[tag] = first;
  return first;
}

std::optional<std::string> FakeRegistry::Blob(const std::string& repository,
                                              const Digest& digest) const {
  MutexLock lock(mutex_);
  auto content = repositories_.find(repository);
  if (content == repositories_.end()) {
    return std::nullopt;
  }
  auto blob = content->second.blobs.find(digest);
  return blob == content->second.blobs.end() ? std::nullopt : std::optional(*blob->second);
}

std::optional<std::string> FakeRegistry::ManifestBytes(const std::string& repository,
                                                       const std::string& name) const {
  MutexLock lock(mutex_);
  auto content = repositories_.find(repository);
  if (content == repositories_.end()) {
    return std::nullopt;
  }
  auto tag = content->second.tags.find(name);
  Result<Digest> digest =
      tag != content->second.tags.end() ? Result<Digest>(tag->second) : Digest::Parse(name);
  auto manifest =
      digest ? content->second.manifests.find(*digest) : content->second.manifests.end();
  return manifest == content->second.manifests.end() ? std::nullopt
                                                     : std::optional(*manifest->second.bytes);
}

void FakeRegistry::RemoveBlob(const std::string& repository, const Digest& digest) {
  MutexLock lock(mutex_);
  repositories_[repository].blobs.erase(digest);
}

// --- behaviour ---

void FakeRegistry::InjectFault(Fault fault) {
  MutexLock lock(mutex_);
  faults_.push_back(std::move(fault));
}
void FakeRegistry::ClearFaults() {
  MutexLock lock(mutex_);
  faults_.clear();
}
void FakeRegistry::SetLatency(std::chrono::milliseconds latency) {
  MutexLock lock(mutex_);
  latency_ = latency;
}
void FakeRegistry::SetReferrersApi(bool on) {
  MutexLock lock(mutex_);
  referrers_api_ = on;
}
void FakeRegistry::SetReferrersPageSize(size_t descriptors) {
  MutexLock lock(mutex_);
  referrers_page_ = descriptors;
}
void FakeRegistry::RequireBasic(const std::string& user, const std::string& password) {
  MutexLock lock(mutex_);
  basic_ = BasicAuthorization(user, password);
  bearer_.reset();
}
void FakeRegistry::RequireBearer(BearerOptions options) {
  MutexLock lock(mutex_);
  bearer_ = std::move(options);
  basic_.clear();
}
void FakeRegistry::RevokeTokens() {
  MutexLock lock(mutex_);
  tokens_.clear();
}
void FakeRegistry::RedirectBlobsTo(FakeRegistry* storage) {
  MutexLock lock(mutex_);
  redirect_to_ = storage;
}
void FakeRegistry::ExpireSignatures(int status) {
  MutexLock lock(mutex_);
  ++signature_;
  expired_status_ = status;
}

std::string FakeRegistry::SignedUrl(const Digest& digest,
                                    std::shared_ptr<const std::string> bytes) {
  MutexLock lock(mutex_);
  storage_[digest] = std::move(bytes);
  return fmt::format("{}/storage/{}?X-Signature=secret{}", url(), digest.ToString(), signature_);
}

// --- what happened ---

std::vector<ServedRequest> FakeRegistry::requests() const {
  MutexLock lock(mutex_);
  return log_;
}
int FakeRegistry::CountRequests(const std::string& method, const std::string& path_contains) const {
  MutexLock lock(mutex_);
  return static_cast<int>(std::count_if(log_.begin(), log_.end(), [&](const ServedRequest& r) {
    return (method.empty() || r.method == method) &&
           r.path.find(path_contains) != std::string::npos;
  }));
}
void FakeRegistry::ForgetRequests() {
  MutexLock lock(mutex_);
  log_.clear();
}
uint64_t FakeRegistry::body_bytes_sent() const {
  MutexLock lock(mutex_);
  return body_bytes_;
}
int FakeRegistry::max_parallel_requests() const {
  MutexLock lock(mutex_);
  return max_running_;
}

// --- serving ---

std::optional<Fault> FakeRegistry::TakeFault(const ServedRequest& request) {
  for (Fault& fault : faults_) {
    bool path_fits = fault.path_contains.empty()
                         ? request.path != "/token"
                         : request.path.find(fault.path_contains) != std::string::npos;
    if (!path_fits || fault.times == 0 ||
        (!fault.method.empty() && fault.method != request.method)) {
      continue;
    }
    if (fault.skip > 0) {
      --fault.skip;
      continue;
    }
    if (fault.times != Fault::kForever) {
      --fault.times;
    }
    return fault;
  }
  return std::nullopt;
}

void FakeRegistry::Handle(const ServedRequest& request, ServedConnection& connection) {
  Answer answer;
  std::optional<Fault> fault;
  std::chrono::milliseconds latency{0};
  FakeRegistry* storage = nullptr;
  {
    MutexLock lock(mutex_);
    log_.push_back(request);
    max_running_ = std::max(max_running_, ++running_);
    fault = TakeFault(request);
    if (!fault || fault->kind != Fault::Kind::kStatus) {
      answer = Route(request);
    }
    latency = latency_;
    storage = redirect_to_;
  }
  if (latency.count() == 0 || connection.WaitFor(latency)) {
    if (answer.redirect_blob && !fault) {
      answer.headers["Location"] = storage->SignedUrl(*answer.redirect_blob, answer.body);
      answer.body = Share("");
    }
    Send(request, answer, fault, connection);
  }
  MutexLock lock(mutex_);
  --running_;
}

// --- answers on the wire ---

void FakeRegistry::Send(const ServedRequest& request, const Answer& answer,
                        const std::optional<Fault>& fault, ServedConnection& connection) {
  auto is = [&fault](Fault::Kind kind) { return fault && fault->kind == kind; };
  if (is(Fault::Kind::kHang)) {
    connection.WaitForEnd();
    return;
  }
  if (is(Fault::Kind::kClose)) {
    connection.CloseAfterwards();
    return;
  }
  int status = answer.status;
  std::map<std::string, std::string> headers = answer.headers;
  std::string_view body = *answer.body;
  std::string range = request.Header("range");
  if (is(Fault::Kind::kStatus)) {
    status = fault->status;
    headers = fault->headers;
    body = fault->body;
  } else if (answer.ranges && !range.empty() && !is(Fault::Kind::kIgnoreRange)) {
    auto bounds = ParseRange(range, body.size());
    status = bounds ? 206 : 416;
    if (bounds) {
      uint64_t shift = is(Fault::Kind::kWrongContentRange) ? 1 : 0;
      headers["Content-Range"] =
          fmt::format("bytes {}-{}/{}", bounds->first + shift, bounds->second + shift, body.size());
      body = body.substr(bounds->first, bounds->second - bounds->first + 1);
    } else {
      headers["Content-Range"] = fmt::format("bytes */{}", body.size());
      body = {};
    }
  }
  std::string changed;
  if (is(Fault::Kind::kWrongLength) || (is(Fault::Kind::kCorrupt) && !body.empty())) {
    changed = body;
    if (is(Fault::Kind::kWrongLength)) {
      changed.resize(fault->bytes);
    } else {
      changed[0] = static_cast<char>(changed[0] ^ 1);
    }
    body = changed;
  }
  std::string head = fmt::format("HTTP/1.1 {} Fake\r\nContent-Length: {}\r\n", status, body.size());
  for (const auto& [name, value] : headers) {
    head += fmt::format("{}: {}\r\n", name, value);
  }
  if (connection.Send(head + "\r\n") && request.method != "HEAD") {
    SendBody(body, fault, connection);
  }
}

void FakeRegistry::SendBody(std::string_view body, const std::optional<Fault>& fault,
                            ServedConnection& connection) {
  auto count = [this](std::string_view bytes) {
    MutexLock lock(mutex_);
    body_bytes_ += bytes.size();
  };
  Fault::Kind kind = fault ? fault->kind : Fault::Kind::kStatus;
  if (kind == Fault::Kind::kSlow) {
    while (!body.empty() && connection.WaitFor(fault->interval) &&
           connection.Send(body.substr(0, fault->bytes))) {
      count(body.substr(0, fault->bytes));
      body.remove_prefix(std::min<size_t>(body.size(), fault->bytes));
    }
    return;
  }
  bool cut =
      kind == Fault::Kind::kShortBody || kind == Fault::Kind::kReset || kind == Fault::Kind::kStall;
  std::string_view part = cut ? body.substr(0, fault->bytes) : body;
  count(part);
  if (!connection.Send(part) || !cut) {
    return;
  }
  if (kind == Fault::Kind::kStall) {
    connection.WaitForEnd();
  } else if (kind == Fault::Kind::kReset) {
    connection.ResetAfterwards();
  } else {
    connection.CloseAfterwards();
  }
}

}  // namespace floe::testing
