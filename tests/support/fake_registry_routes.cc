#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tests/support/fake_registry.h"
#include "tests/support/fake_registry_answer.h"

namespace floe::testing {

using Json = nlohmann::json;

namespace {

constexpr std::string_view kIndexMediaType = "application/vnd.oci.image.index.v1+json";

std::shared_ptr<const std::string> Share(std::string bytes) {
  return std::make_shared<const std::string>(std::move(bytes));
}

std::string JsonText(const Json& json, const char* key) {
  auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

std::optional<Digest> SubjectOf(const std::string& manifest) {
  Json json = Json::parse(manifest, nullptr, false);
  if (!json.is_object() || !json.contains("subject")) {
    return std::nullopt;
  }
  Result<Digest> digest = Digest::Parse(JsonText(json["subject"], "digest"));
  return digest ? std::optional(*digest) : std::nullopt;
}

}  // namespace

FakeRegistry::Answer FakeRegistry::Answer::Failure(int status, const std::string& code) {
  Json error = {{"errors", {{{"code", code}, {"message", "the fake registry says no"}}}}};
  return {.status = status,
          .headers = {{"Content-Type", "application/json"}},
          .body = Share(error.dump())};
}

FakeRegistry::Answer FakeRegistry::Route(const ServedRequest& request) {
  const std::string& path = request.path;
  if (path == "/token") {
    return ServeToken(request);
  }
  if (path.starts_with("/storage/")) {
    return ServeStorage(request, path.substr(9));
  }
  if (!path.starts_with("/v2/")) {
    return Answer::Failure(404, "NOT_FOUND");
  }
  for (const char* kind : {"/blobs/", "/manifests/", "/referrers/"}) {
    size_t at = path.find(kind, 3);
    if (at != std::string::npos) {
      std::string repository = path.substr(4, at - 4);
      std::optional<Answer> refused = Challenge(request, repository);
      return refused ? *std::move(refused)
                     : RouteRepository(request, repository, path.substr(at + 1));
    }
  }
  std::optional<Answer> refused = Challenge(request, "");
  return refused ? *std::move(refused) : Answer{};
}

FakeRegistry::Answer FakeRegistry::RouteRepository(const ServedRequest& request,
                                                   const std::string& repository,
                                                   const std::string& rest) {
  Content& content = repositories_[repository];
  std::string name = rest.substr(rest.find('/') + 1);
  if (rest.starts_with("blobs/uploads/")) {
    return ServeUpload(request, repository, content, name.substr(name.find('/') + 1));
  }
  if (rest.starts_with("blobs/")) {
    return ServeBlob(request, content, name);
  }
  if (rest.starts_with("referrers/")) {
    return ServeReferrers(request, content, name);
  }
  return request.method == "PUT" ? StoreManifest(request, content, name)
                                 : ServeManifest(request, content, name);
}

FakeRegistry::Answer FakeRegistry::ServeBlob(const ServedRequest& request, Content& content,
                                             const std::string& name) {
  Result<Digest> digest = Digest::Parse(name);
  auto found = digest ? content.blobs.find(*digest) : content.blobs.end();
  if (found == content.blobs.end()) {
    return Answer::Failure(404, "BLOB_UNKNOWN");
  }
  if (redirect_to_ != nullptr && request.method == "GET") {
    return {.status = 307, .body = found->second, .redirect_blob = *digest};
  }
  return {
      .headers = {{"Docker-Content-Digest", name}, {"Content-Type", "application/octet-stream"}},
      .body = found->second,
      .ranges = true};
}

FakeRegistry::Answer FakeRegistry::ServeStorage(const ServedRequest& request,
                                                const std::string& name) {
  if (request.Query("X-Signature") != fmt::format("secret{}", signature_)) {
    return {.status = expired_status_, .body = Share("<Error>expired</Error>")};
  }
  // Object stores refuse a request that is signed twice.
  Result<Digest> digest = Digest::Parse(name);
  if (!digest || !storage_.contains(*digest) || !request.Header("authorization").empty()) {
    return Answer::Failure(400, "BAD_REQUEST");
  }
  return {.body = storage_[*digest], .ranges = true};
}

FakeRegistry::Answer FakeRegistry::ServeManifest(const ServedRequest& request, Content& content,
                                                 const std::string& name) {
  auto tag = content.tags.find(name);
  Result<Digest> digest =
      tag != content.tags.end() ? Result<Digest>(tag->second) : Digest::Parse(name);
  auto found = digest ? content.manifests.find(*digest) : content.manifests.end();
  if (found == content.manifests.end() || request.method == "POST") {
    return Answer::Failure(404, "MANIFEST_UNKNOWN");
  }
  return {.headers = {{"Content-Type", found->second.media_type},
                      {"Docker-Content-Digest", digest->ToString()}},
          .body = found->second.bytes};
}

FakeRegistry::Answer FakeRegistry::StoreManifest(const ServedRequest& request, Content& content,
                                                 const std::string& name) {
  Digest digest = Digest::Of(request.body);
  if (name.starts_with("sha256:") && name != digest.ToString()) {
    return Answer::Failure(400, "DIGEST_INVALID");
  }
  content.manifests[digest] = {request.Header("content-type"), Share(request.body)};
  if (!name.starts_with("sha256:")) {
    content.tags[name] = digest;
  }
  Answer answer{.status = 201, .headers = {{"Docker-Content-Digest", digest.ToString()}}};
  std::optional<Digest> subject = SubjectOf(request.body);
  if (subject && referrers_api_) {
    answer.headers["OCI-Subject"] = subject->ToString();
  }
  return answer;
}

FakeRegistry::Answer FakeRegistry::ServeReferrers(const ServedRequest& request, Content& content,
                                                  const std::string& name) {
  Result<Digest> subject = Digest::Parse(name);
  if (!referrers_api_ || !subject) {
    return Answer::Failure(404, "UNSUPPORTED");
  }
  std::vector<Json> all;
  for (const auto& [digest, manifest] : content.manifests) {
    if (SubjectOf(*manifest.bytes) != *subject) {
      continue;
    }
    Json json = Json::parse(*manifest.bytes, nullptr, false);
    std::string type = JsonText(json, "artifactType");
    all.push_back({{"mediaType", manifest.media_type},
                   {"artifactType", type},
                   {"digest", digest.ToString()},
                   {"size", manifest.bytes->size()}});
  }
  size_t from = 0;
  std::string last = request.Query("last");
  std::from_chars(last.data(), last.data() + last.size(), from);
  size_t count = referrers_page_ == 0 ? all.size() : referrers_page_;
  Json page = Json::array();
  for (size_t i = from; i < std::min(all.size(), from + count); ++i) {
    page.push_back(all[i]);
  }
  Json index = {{"schemaVersion", 2}, {"mediaType", kIndexMediaType}, {"manifests", page}};
  Answer answer{.headers = {{"Content-Type", std::string(kIndexMediaType)}},
                .body = Share(index.dump())};
  if (from + count < all.size()) {
    answer.headers["Link"] = fmt::format("<{}?last={}>; rel=\"next\"", request.path, from + count);
  }
  return answer;
}

FakeRegistry::Answer FakeRegistry::ServeUpload(const ServedRequest& request,
                                               const std::string& repository, Content& content,
                                               const std::string& id) {
  if (request.method == "POST") {
    std::string fresh = fmt::format("upload-{}", next_id_++);
    content.uploads[fresh];
    return {.status = 202,
            .headers = {
                {"Location", fmt::format("/v2/{}/blobs/uploads/{}?_state=s", repository, fresh)}}};
  }
  auto upload = content.uploads.find(id);
  if (upload == content.uploads.end()) {
    return Answer::Failure(404, "BLOB_UPLOAD_UNKNOWN");
  }
  upload->second += request.body;
  if (request.method == "PATCH") {
    return {.status = 202, .headers = {{"Location", request.path}}};
  }
  Digest digest = Digest::Of(upload->second);
  if (request.Query("digest") != digest.ToString()) {
    return Answer::Failure(400, "DIGEST_INVALID");
  }
  content.blobs[digest] = Share(std::move(upload->second));
  content.uploads.erase(upload);
  return {.status = 201, .headers = {{"Docker-Content-Digest", digest.ToString()}}};
}

// --- authentication ---

FakeRegistry::Answer FakeRegistry::ServeToken(const ServedRequest& request) {
  if (!bearer_) {
    return Answer::Failure(404, "NOT_FOUND");
  }
  bool granted = bearer_->user.empty() && bearer_->refresh_token.empty();
  std::string scope = request.Query("scope");
  if (request.method == "POST") {
    // A form is a query in the body; the values of the tests need no decoding but for these two.
    std::string form = request.body;
    for (const auto& [from, to] : {std::pair{"%3A", ":"}, {"%2F", "/"}, {"%2C", ","}}) {
      for (size_t at = 0; (at = form.find(from)) != std::string::npos;) {
        form.replace(at, 3, to);
      }
    }
    granted = form.find("grant_type=refresh_token") != std::string::npos &&
              form.find("refresh_token=" + bearer_->refresh_token) != std::string::npos;
    scope = form.substr(std::min(form.size(), form.find("scope=") + 6));
    scope = scope.substr(0, scope.find('&'));
  } else if (!bearer_->user.empty()) {
    granted =
        request.Header("authorization") == BasicAuthorization(bearer_->user, bearer_->password);
  }
  if (!granted) {
    return Answer::Failure(401, "UNAUTHORIZED");
  }
  std::string token = fmt::format("token{}", next_id_++);
  tokens_[token] = scope;
  Json body = {{"token", token}, {"expires_in", bearer_->lifetime.count()}};
  return {.headers = {{"Content-Type", "application/json"}}, .body = Share(body.dump())};
}

std::optional<FakeRegistry::Answer> FakeRegistry::Challenge(const ServedRequest& request,
                                                            const std::string& repository) {
  std::string sent = request.Header("authorization");
  if (!basic_.empty() && sent != basic_) {
    Answer answer = Answer::Failure(401, "UNAUTHORIZED");
    answer.headers["WWW-Authenticate"] = "Basic realm=\"fake registry\"";
    return answer;
  }
  if (!bearer_) {
    return std::nullopt;
  }
  bool writes = request.method != "GET" && request.method != "HEAD";
  std::string needed = fmt::format("repository:{}:pull{}", repository, writes ? ",push" : "");
  auto token = sent.starts_with("Bearer ") ? tokens_.find(sent.substr(7)) : tokens_.end();
  if (token != tokens_.end() && token->second.find(needed) != std::string::npos) {
    return std::nullopt;
  }
  Answer answer = Answer::Failure(401, "UNAUTHORIZED");
  answer.headers["WWW-Authenticate"] = fmt::format(
      "Bearer realm=\"{}/token\",service=\"fake registry\",scope=\"{}\"", url(), needed);
  return answer;
}

}  // namespace floe::testing
