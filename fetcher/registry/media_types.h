#pragma once

#include <array>
#include <string_view>

namespace floe::fetcher {

inline constexpr std::string_view kOciIndexMediaType = "application/vnd.oci.image.index.v1+json";

/// What a manifest request accepts: the manifests and indexes of image-spec 1.1 and their docker
/// twins.
inline constexpr std::array<std::string_view, 5> kManifestMediaTypes = {
    kOciIndexMediaType,
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.artifact.manifest.v1+json",
};

}  // namespace floe::fetcher
