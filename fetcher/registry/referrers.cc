#include "fetcher/registry/referrers.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "fetcher/registry/media_types.h"

namespace floe::fetcher {
namespace {

using Json = nlohmann::json;

// Between two writers the later push wins: look whether ours survived, and try again.
constexpr int kMaxPushes = 4;

std::string Text(const Json& object, const char* key) {
  auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

Result<Json> ParseIndex(std::string_view text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("manifests") || !json["manifests"].is_array()) {
    return DataLoss("a list of referrers is not an image index");
  }
  return json;
}

bool Holds(const Json& index, const Digest& digest) {
  const Json& manifests = index["manifests"];
  return std::any_of(manifests.begin(), manifests.end(), [&](const Json& entry) {
    return entry.is_object() && Text(entry, "digest") == digest.ToString();
  });
}

}  // namespace

std::string FallbackTag(const Digest& subject) { return "sha256-" + subject.hex(); }

Result<std::vector<ReferrerDescriptor>> ParseReferrers(std::string_view text) {
  FLOE_ASSIGN_OR_RETURN(Json index, ParseIndex(text));
  std::vector<ReferrerDescriptor> referrers;
  for (const Json& entry : index["manifests"]) {
    if (!entry.is_object()) {
      continue;
    }
    Result<Digest> digest = Digest::Parse(Text(entry, "digest"));
    auto size = entry.find("size");
    if (digest && size != entry.end() && size->is_number_unsigned()) {
      referrers.push_back({.media_type = Text(entry, "mediaType"),
                           .artifact_type = Text(entry, "artifactType"),
                           .digest = *digest,
                           .size_bytes = size->get<uint64_t>()});
    }
  }
  return referrers;
}

Result<std::string> WithReferrer(std::string_view text, const ReferrerDescriptor& descriptor) {
  Json index = {
      {"schemaVersion", 2}, {"mediaType", kOciIndexMediaType}, {"manifests", Json::array()}};
  if (!text.empty()) {
    FLOE_ASSIGN_OR_RETURN(index, ParseIndex(text));
    if (Holds(index, descriptor.digest)) {
      return std::string(text);
    }
  }
  Json entry = {{"mediaType", descriptor.media_type},
                {"digest", descriptor.digest.ToString()},
                {"size", descriptor.size_bytes}};
  if (!descriptor.artifact_type.empty()) {
    entry["artifactType"] = descriptor.artifact_type;
  }
  index["manifests"].push_back(std::move(entry));
  return index.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string NextPage(std::string_view header) {
  while (!header.empty()) {
    size_t open = header.find('<');
    size_t close = header.find('>', open == header.npos ? header.size() : open);
    if (close == header.npos) {
      return "";
    }
    std::string_view params = header.substr(close + 1);
    size_t end = std::min(params.find(",<"), params.find(", <"));
    params = params.substr(0, end);
    if (params.find("rel=\"next\"") != params.npos || params.find("rel=next") != params.npos) {
      return std::string(header.substr(open + 1, close - open - 1));
    }
    header.remove_prefix(std::min(header.size(), close + 1 + params.size()));
  }
  return "";
}

Result<void> AddToFallbackTag(RegistryClient& client, const Repository& repository,
                              const Digest& subject, const ReferrerDescriptor& descriptor,
                              Deadline deadline) {
  std::string tag = FallbackTag(subject);
  for (int pushes = 0; pushes <= kMaxPushes; ++pushes) {
    Result<Manifest> known = client.GetManifest(repository, tag, deadline);
    if (!known && known.error().code != ErrorCode::kNotFound) {
      return std::move(known).error();
    }
    std::string before = known ? std::move(known->bytes) : std::string();
    FLOE_ASSIGN_OR_RETURN(std::string after, WithReferrer(before, descriptor));
    if (after == before) {
      return Ok();
    }
    if (pushes < kMaxPushes) {
      FLOE_RETURN_IF_ERROR(
          client.PushManifest(repository, tag, kOciIndexMediaType, after, deadline));
    }
  }
  return Aborted("{}: others change tag {} all the time", repository.ToString(), tag);
}

}  // namespace floe::fetcher
