#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "image/manifest.h"

/// The documents of a converted image. Equal input gives equal bytes.
namespace floe::prepare {

inline constexpr const char* kOciManifestMediaType = "application/vnd.oci.image.manifest.v1+json";

/// A config with other diff IDs; all else, the order of its keys too, stays. The same bytes where
/// the diff IDs are the same.
Result<std::string> ReplaceDiffIds(const std::string& config, const std::vector<Digest>& before,
                                   const std::vector<Digest>& after);

/// An OCI image manifest (also where the image had a docker one) over these layers, with the
/// image's annotations.
std::string WriteImageManifest(const Digest& config, uint64_t config_bytes,
                               const std::vector<image::Descriptor>& layers,
                               const std::map<std::string, std::string>& annotations);

}  // namespace floe::prepare
