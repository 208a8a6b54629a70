#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "fetcher/registry_client.h"
#include "image/layer_index.h"
#include "prepare/image_resolver.h"

/// The readers of layer formats: each fetches what a format has for a layer (a table of contents, a
/// ztoc, a bootstrap), checks it, and makes a LayerIndex of it. Control plane; blocking calls.
namespace floe::prepare {

/// The names of the readers, as `floe status`, logs and metrics show them.
inline constexpr std::string_view kFloeIndexReader = "floe-index";
inline constexpr std::string_view kStargzReader = "estargz";
inline constexpr std::string_view kZstdChunkedReader = "zstd:chunked";
inline constexpr std::string_view kSociReader = "soci";
inline constexpr std::string_view kNydusReader = "nydus";
inline constexpr std::string_view kErofsReader = "erofs";
inline constexpr std::string_view kStreamReader = "stream";

/// What a reader is given. All must outlive the call.
struct LayerContext {
  fetcher::RegistryClient& client;
  const ResolvedImage& image;  ///< With its config.
  size_t position = 0;         ///< Of the layer in image.manifest.layers.
  Deadline deadline = {};
  /// Indexes whose data nothing vouches for are made all the same (DigestKind::kNone).
  bool allow_unverified = false;

  [[nodiscard]] const image::Descriptor& layer() const { return image.manifest.layers[position]; }
  [[nodiscard]] const Digest& diff_id() const { return image.config.diff_ids[position]; }
};

/// What a reader made of a layer. Errors of readers are one line without the layer's digest, which
/// the caller adds: NotFound, the layer is not of this format; Unimplemented and
/// FailedPrecondition, it is, but cannot be lazy, and why; DataLoss, it lies; what the registry
/// said else.
struct ReadLayer {
  std::shared_ptr<const image::LayerIndex> index;
  /// For each blob of the index the inflate windows, when the reader made them itself (their digest
  /// and size are in the index); empty strings where there are none.
  std::vector<std::string> windows;
  image::IndexOrigin origin = image::IndexOrigin::kBound;
  uint64_t read_bytes = 0;  ///< Fetched from the registry for it.
};

}  // namespace floe::prepare
