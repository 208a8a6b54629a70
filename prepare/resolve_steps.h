#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "prepare/image_resolver.h"

/// The steps of ResolveImage and ResolveIndexedImage, for callers that do something between them.
namespace floe::prepare {

/// A ResolvedImage without config and chain IDs.
struct ResolvedManifest {
  ResolvedImage image;
  /// Set when the index does not say for which platform the manifest is: the config must be.
  std::optional<image::Platform> config_platform;
};

Result<ResolvedManifest> ResolveManifest(fetcher::RegistryClient& client,
                                         const fetcher::Reference& reference,
                                         const std::optional<Digest>& manifest_digest,
                                         const image::Platform& platform, Deadline deadline);

/// Reads and checks the config: writes config_bytes, config and chain_ids, nothing else.
Result<void> ReadConfig(fetcher::RegistryClient& client, ResolvedManifest& resolved,
                        Deadline deadline);

/// The config and, if they seem to be needed, at the same time the referrers; then the indexes.
Result<IndexedImage> FindIndexes(fetcher::RegistryClient& client, ResolvedManifest resolved,
                                 const FindOptions& options, Deadline deadline);

}  // namespace floe::prepare
