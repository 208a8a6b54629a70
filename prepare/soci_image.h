#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/result.h"
#include "fetcher/registry_client.h"
#include "image/soci/soci_index.h"
#include "prepare/image_resolver.h"
#include "prepare/layer_reader.h"

/// SOCI indexes of an image (docs/layer-formats.md, "SOCI"): where they are found, and the reader
/// of the layers that they describe. Control plane; blocking calls.
namespace floe::prepare {

/// What version 1 is listed as among the referrers of the image manifest.
inline constexpr std::string_view kSociV1ArtifactType = image::kSociV1IndexType;

/// The index of version 2 that the image manifest names in an annotation, which the manifest's
/// digest covers, and with it the index: IndexOrigin::kBound. That is enough also without the OCI
/// index (an image resolved by its manifest's digest has none); whether the registry holds the
/// named index, only FetchSociIndex tells (NotFound: a dangling annotation, so no index). Nothing
/// when the OCI index contradicts: it holds the named digest as something else than the SOCI index
/// of this manifest.
std::optional<Digest> SociV2IndexOf(const ResolvedImage& image);

/// Those of a list of referrers that may be SOCI indexes of version 1, the most promising first: of
/// the right type before those whose type the list does not say (fallback tags may leave it out; a
/// bounded number of these), newer before older. FetchSociIndex decides.
std::vector<fetcher::ReferrerDescriptor> SociV1Candidates(
    const std::vector<fetcher::ReferrerDescriptor>& referrers);

/// The candidates that the registry lists: IndexOrigin::kRepository. Empty: there are none.
Result<std::vector<fetcher::ReferrerDescriptor>> ListSociV1Indexes(
    fetcher::RegistryClient& client, const fetcher::Repository& repository,
    const Digest& image_manifest, Deadline deadline);

/// Reads an index. `size_bytes`: what its descriptor says, when there is one. NotFound: it is not
/// there; InvalidArgument: not a SOCI index; DataLoss: another size, or (version 1) it is of
/// another image; what the registry said else. Names the index.
Result<image::SociIndex> FetchSociIndex(fetcher::RegistryClient& client,
                                        const fetcher::Repository& repository, const Digest& digest,
                                        std::optional<uint64_t> size_bytes,
                                        const ResolvedImage& image, Deadline deadline);

/// The reader of layers (prepare/layer_reader.h): fetches and checks the layer's ztoc and makes its
/// index and windows. `origin`: how `index` was found. NotFound: "no ztoc for the layer".
Result<ReadLayer> ReadSociLayer(const LayerContext& context, const image::SociIndex& index,
                                image::IndexOrigin origin);

}  // namespace floe::prepare
