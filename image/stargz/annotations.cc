#include "image/stargz/annotations.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/quote.h"

namespace floe::image {
namespace {

constexpr const char* kTocDigest = "containerd.io/snapshot/stargz/toc.digest";
constexpr const char* kEstargzSize = "io.containers.estargz.uncompressed-size";
constexpr std::array<const char*, 2> kChecksums = {
    "io.containers.zstd-chunked.manifest-checksum",
    "io.github.containers.zstd-chunked.manifest-checksum"};
constexpr std::array<const char*, 2> kPositions = {
    "io.containers.zstd-chunked.manifest-position",
    "io.github.containers.zstd-chunked.manifest-position"};

// nullptr when none of `keys` is annotated.
Result<const std::string*> FindOne(const Descriptor& layer, std::span<const char* const> keys) {
  const std::string* value = nullptr;
  for (const char* key : keys) {
    const auto found = layer.annotations.find(key);
    if (found == layer.annotations.end()) {
      continue;
    }
    if (value != nullptr && *value != found->second) {
      return DataLoss("annotation {} is {}, but another one says {}", key, Quote(found->second),
                      Quote(*value));
    }
    value = &found->second;
  }
  return value;
}

Result<std::optional<Digest>> FindDigest(const Descriptor& layer,
                                         std::span<const char* const> keys) {
  FLOE_ASSIGN_OR_RETURN(const std::string* text, FindOne(layer, keys));
  if (text == nullptr) {
    return std::optional<Digest>();
  }
  auto digest = Digest::Parse(*text);
  if (!digest.has_value()) {
    return InvalidArgument("the annotated digest of its table of contents is {}", Quote(*text));
  }
  return std::optional(*digest);
}

// "OFFSET:COMPRESSED:DECODED:TYPE", decimal.
std::optional<std::array<uint64_t, 4>> ParseNumbers(std::string_view text) {
  std::array<uint64_t, 4> numbers{};
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0) {
      if (at == end || *at != ':') {
        return std::nullopt;
      }
      ++at;
    }
    const auto [stop, status] = std::from_chars(at, end, numbers[i]);
    if (status != std::errc()) {
      return std::nullopt;
    }
    at = stop;
  }
  return at == end ? std::optional(numbers) : std::nullopt;
}

Result<std::optional<TocPosition>> FindPosition(const Descriptor& layer) {
  FLOE_ASSIGN_OR_RETURN(const std::string* text, FindOne(layer, kPositions));
  if (text == nullptr) {
    return std::optional<TocPosition>();
  }
  const auto numbers = ParseNumbers(*text);
  if (!numbers) {
    return InvalidArgument("the annotated position of its table of contents is {}", Quote(*text));
  }
  const TocPosition position{.toc = {(*numbers)[0], (*numbers)[1]},
                             .decoded_length = (*numbers)[2]};
  FLOE_RETURN_IF_ERROR(CheckTocPosition(position, (*numbers)[3], layer.size_bytes));
  return std::optional(position);
}

}  // namespace

bool HasTocAnnotations(const Descriptor& layer) {
  const auto has = [&](const char* key) { return layer.annotations.contains(key); };
  return has(kTocDigest) || has(kEstargzSize) || std::ranges::any_of(kChecksums, has) ||
         std::ranges::any_of(kPositions, has);
}

Result<TocAnnotations> ParseTocAnnotations(const Descriptor& layer) {
  TocAnnotations annotations;
  FLOE_ASSIGN_OR_RETURN(annotations.toc_digest, FindDigest(layer, std::array{kTocDigest}));
  FLOE_ASSIGN_OR_RETURN(annotations.compressed_digest, FindDigest(layer, kChecksums));
  FLOE_ASSIGN_OR_RETURN(annotations.position, FindPosition(layer));
  return annotations;
}

}  // namespace floe::image
