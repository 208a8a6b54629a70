#include "prepare/soci_image.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/log.h"
#include "image/manifest.h"
#include "image/soci/soci_prefetch.h"
#include "image/soci/ztoc.h"
#include "image/soci/ztoc_layer.h"

namespace floe::prepare {
namespace {

constexpr const char* kIndexAnnotation = "com.amazon.soci.index-digest";
constexpr const char* kManifestAnnotation = "com.amazon.soci.image-manifest-digest";
// Referrers whose type is not said: each costs a request.
constexpr size_t kMaxUntyped = 8;

using Referrers = std::vector<fetcher::ReferrerDescriptor>;

// Whether the entry is what the image manifest says of it.
bool IsSociIndexOf(const image::Descriptor& entry, const Digest& image_manifest) {
  const auto names = entry.annotations.find(kManifestAnnotation);
  return entry.artifact_type == image::kSociV2IndexType && names != entry.annotations.end() &&
         names->second == image_manifest.ToString();
}

// An index that does not hold the digest at all says nothing: it may have been made anew for some
// platforms only.
bool Contradicts(const image::ImageIndex& index, const Digest& soci_index,
                 const Digest& image_manifest) {
  const auto is_it = [&](const image::Descriptor& entry) { return entry.digest == soci_index; };
  const auto agrees = [&](const image::Descriptor& entry) {
    return is_it(entry) && IsSociIndexOf(entry, image_manifest);
  };
  return std::ranges::any_of(index.manifests, is_it) &&
         std::ranges::none_of(index.manifests, agrees);
}

// Registries and fallback tags list the newest last.
template <typename Predicate>
void AppendNewestFirst(const Referrers& from, size_t limit, const Predicate& wanted,
                       Referrers& to) {
  for (auto entry = from.rbegin(); entry != from.rend() && limit > 0; ++entry) {
    if (wanted(*entry)) {
      to.push_back(*entry);
      --limit;
    }
  }
}

Result<image::SociIndex> ReadIndex(fetcher::RegistryClient& client,
                                   const fetcher::Repository& repository, const Digest& digest,
                                   std::optional<uint64_t> size_bytes, const ResolvedImage& image,
                                   Deadline deadline) {
  FLOE_ASSIGN_OR_RETURN(const fetcher::Manifest manifest,
                        client.GetManifest(repository, digest.ToString(), deadline));
  if (size_bytes.has_value() && manifest.bytes.size() != *size_bytes) {
    return DataLoss("it has {} bytes, its descriptor says {}", manifest.bytes.size(), *size_bytes);
  }
  FLOE_ASSIGN_OR_RETURN(image::SociIndex index, image::ParseSociIndex(manifest.bytes));
  if (index.image_manifest.has_value() && *index.image_manifest != image.manifest_digest) {
    return DataLoss("its subject is another manifest, {}", index.image_manifest->ToString());
  }
  return index;
}

Result<std::string> FetchObject(const LayerContext& context, const image::SociObject& object,
                                uint64_t limit_bytes) {
  if (object.size_bytes > limit_bytes) {
    return ResourceExhausted("it has {} bytes, at most {}", object.size_bytes, limit_bytes);
  }
  FLOE_ASSIGN_OR_RETURN(std::string bytes,
                        context.client.GetBlob(context.image.reference.repository, object.digest,
                                               object.size_bytes, context.deadline));
  if (bytes.size() != object.size_bytes) {
    return DataLoss("it has {} bytes, its descriptor says {}", bytes.size(), object.size_bytes);
  }
  return bytes;
}

// Returns how many bytes it has read.
Result<uint64_t> CheckGzipHeader(const LayerContext& context) {
  fetcher::RangeRequest request;
  request.repository = context.image.reference.repository;
  request.digest = context.layer().digest;
  request.range = {.offset = 0, .length = image::kPlainGzipHeaderBytes};
  request.blob_bytes = context.layer().size_bytes;
  request.deadline = context.deadline;
  FLOE_ASSIGN_OR_RETURN(const std::string bytes, context.client.FetchRangeSync(std::move(request)));
  FLOE_RETURN_IF_ERROR(image::CheckImpliedGzipHeader(std::as_bytes(std::span(bytes))));
  return bytes.size();
}

// Nothing, with a warning, when there is no good list: it is a hint.
std::vector<image::SociSpanRun> FetchPrefetch(const LayerContext& context,
                                              const image::SociLayer& layer, size_t span_count,
                                              ReadLayer& result) {
  if (!layer.prefetch.has_value()) {
    return {};
  }
  auto bytes = FetchObject(context, *layer.prefetch, image::kMaxSociPrefetchBytes);
  result.read_bytes += bytes.has_value() ? bytes->size() : 0;
  auto runs = bytes.has_value() ? image::ParseSociPrefetch(*bytes, span_count)
                                : Result<std::vector<image::SociSpanRun>>(bytes.error());
  if (!runs.has_value()) {
    LogWarning("prefetch list ignored layer={} list={} reason=\"{}\"",
               context.layer().digest.ToString(), layer.prefetch->digest.ToString(),
               runs.error().message);
    return {};
  }
  return std::move(runs).value();
}

Result<ReadLayer> ReadWithZtoc(const LayerContext& context, const image::SociLayer& layer) {
  FLOE_ASSIGN_OR_RETURN(const std::string bytes,
                        FetchObject(context, layer.ztoc, image::kMaxZtocBytes));
  FLOE_ASSIGN_OR_RETURN(const image::Ztoc ztoc, image::ParseZtoc(bytes));
  ReadLayer result;
  result.read_bytes = bytes.size();
  if (ztoc.start_is_implied) {
    FLOE_ASSIGN_OR_RETURN(const uint64_t read, CheckGzipHeader(context));
    result.read_bytes += read;
  }
  const image::LayerSource source{.digest = context.layer().digest,
                                  .size_bytes = context.layer().size_bytes,
                                  .media_type = context.layer().media_type,
                                  .diff_id = context.diff_id()};
  const auto prefetch = FetchPrefetch(context, layer, ztoc.spans.size(), result);
  FLOE_ASSIGN_OR_RETURN(
      image::IndexedLayer indexed,
      image::IndexZtocLayer(ztoc, source,
                            {.disable_xattrs = layer.disable_xattrs, .prefetch = prefetch}));
  result.index = std::make_shared<const image::LayerIndex>(std::move(indexed.index));
  result.windows.push_back(std::move(indexed.windows));
  return result;
}

}  // namespace

std::optional<Digest> SociV2IndexOf(const ResolvedImage& image) {
  const auto found = image.manifest.annotations.find(kIndexAnnotation);
  if (found == image.manifest.annotations.end()) {
    return std::nullopt;
  }
  const auto digest = Digest::Parse(found->second);
  if (!digest.has_value()) {
    return std::nullopt;
  }
  const auto index = image::ParseImageIndex(image.index_bytes);
  if (index.has_value() && Contradicts(*index, *digest, image.manifest_digest)) {
    return std::nullopt;
  }
  return *digest;
}

Referrers SociV1Candidates(const Referrers& referrers) {
  Referrers candidates;
  AppendNewestFirst(
      referrers, referrers.size(),
      [](const auto& entry) { return entry.artifact_type == kSociV1ArtifactType; }, candidates);
  AppendNewestFirst(
      referrers, kMaxUntyped,
      [](const auto& entry) {
        return entry.artifact_type.empty() && image::IsManifestMediaType(entry.media_type);
      },
      candidates);
  return candidates;
}

Result<Referrers> ListSociV1Indexes(fetcher::RegistryClient& client,
                                    const fetcher::Repository& repository,
                                    const Digest& image_manifest, Deadline deadline) {
  // All types: the client drops entries without a type when it is asked for one.
  FLOE_ASSIGN_OR_RETURN(const Referrers all,
                        client.ListReferrers(repository, image_manifest, "", deadline));
  return SociV1Candidates(all);
}

Result<image::SociIndex> FetchSociIndex(fetcher::RegistryClient& client,
                                        const fetcher::Repository& repository, const Digest& digest,
                                        std::optional<uint64_t> size_bytes,
                                        const ResolvedImage& image, Deadline deadline) {
  auto index = ReadIndex(client, repository, digest, size_bytes, image, deadline);
  if (!index.has_value()) {
    return WithContext(std::move(index).error(), "SOCI index " + digest.ToString());
  }
  return index;
}

Result<ReadLayer> ReadSociLayer(const LayerContext& context, const image::SociIndex& index,
                                image::IndexOrigin origin) {
  const auto found = index.layers.find(context.layer().digest);
  if (found == index.layers.end()) {
    return NotFound("no ztoc for the layer");
  }
  auto layer = ReadWithZtoc(context, found->second);
  if (!layer.has_value()) {
    return WithContext(std::move(layer).error(), "ztoc " + found->second.ztoc.digest.ToString());
  }
  layer->origin = origin;
  return layer;
}

}  // namespace floe::prepare
