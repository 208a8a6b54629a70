#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "fetcher/http/http_error.h"
#include "fetcher/http/url.h"
#include "fetcher/registry/referrers.h"
#include "tests/fuzz/input.h"

namespace floe::fetcher {
namespace {

const std::vector<std::string>& Seeds() {
  static const std::string digest = "sha256:" + std::string(64, 'a');
  static const std::vector<std::string> kSeeds = {
      R"({"errors":[{"code":"MANIFEST_UNKNOWN","message":"see https://a.example/b?token=c"}]})",
      R"({"schemaVersion":2,"manifests":[{"mediaType":"m","digest":")" + digest +
          R"(","size":7,"artifactType":"a"}]})",
      "Fri, 31 Dec 1999 23:59:59 GMT",
      "120",
      "https://cdn.example:8443/blobs/a?signature=b#c",
      "//other.example/v2/a/blobs/uploads/1",
      "<https://registry.example/v2/a/referrers/b?n=1>; rel=\"next\", </other>; rel=prev"};
  return kSeeds;
}

void CheckError(const std::string& text, uint8_t status) {
  HttpResponse response;
  response.status = 300 + status;
  response.body = text;
  response.headers.emplace("retry-after", text);
  const std::chrono::system_clock::time_point now(std::chrono::seconds(1700000000));
  const Error error = StatusError(response, "get", now);
  FLOE_CHECK(error.message.find_first_of("\r\n") == std::string::npos);
  if (error.retry_after) {
    FLOE_CHECK(error.retry_after->count() >= 0 && *error.retry_after <= std::chrono::hours(24));
  }
}

void CheckLocation(const std::string& text) {
  const auto base = Url::Parse("https://registry.example/v2/a/blobs/uploads/1?state=2");
  FLOE_CHECK(base.has_value());
  const auto location = base->Resolve(text);
  if (!location) {
    return;
  }
  FLOE_CHECK(location->scheme == "https" || location->scheme == "http");
  const auto again = Url::Parse(location->ToString());
  FLOE_CHECK(again.has_value() && again->ToString() == location->ToString());
  FLOE_CHECK(again->Authority() == location->Authority());
  FLOE_CHECK(location->target.find_first_of("\r\n \t") == std::string::npos);
}

void CheckReferrers(const std::string& text) {
  const auto before = ParseReferrers(text);
  const ReferrerDescriptor added{
      .media_type = "m", .artifact_type = "a", .digest = Digest::Of("added"), .size_bytes = 1};
  const auto with = WithReferrer(text, added);
  FLOE_CHECK(with.has_value() == (before.has_value() || text.empty()));
  if (with) {
    const auto after = ParseReferrers(*with);
    FLOE_CHECK(after.has_value());
    FLOE_CHECK(after->size() == (before ? before->size() : 0) + 1);
    FLOE_CHECK(after->back().digest == added.digest);
    FLOE_CHECK(WithReferrer(*with, added).value() == *with);
  }
}

}  // namespace
}  // namespace floe::fetcher

// What registries say beside manifests and blobs: errors, when to come again, where to go, lists
// of referrers.
// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace fetcher = floe::fetcher;
  floe::testing::FuzzInput input(data, size);
  const auto status = input.Take<uint8_t>();
  const std::string text = floe::testing::EditedText(input, fetcher::Seeds());
  fetcher::CheckError(text, status);
  fetcher::CheckLocation(text);
  fetcher::CheckReferrers(text);
  const std::string next = fetcher::NextPage(text);
  FLOE_CHECK(text.find(next) != std::string::npos && next.find('>') == std::string::npos);
  return 0;
}
