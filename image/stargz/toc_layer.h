#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/result.h"
#include "image/layer_index.h"

namespace floe::image {

/// Who defines what a table of contents may leave out and what names mean.
enum class TocDialect : uint8_t {
  kStargz,      ///< stargz-snapshotter: eStargz, and its zstd:chunked.
  kContainers,  ///< containers/storage (podman, skopeo, buildah): zstd:chunked.
};

/// The layer that a TOC describes.
struct TocLayerSource {
  Digest digest;
  uint64_t size_bytes = 0;
  std::string media_type;
  Digest diff_id;              ///< As the image's config has it.
  uint64_t payload_end = 0;    ///< At most size_bytes; see Footer.
  Codec codec = Codec::kGzip;  ///< Or kZstd.
  TocDialect dialect = TocDialect::kStargz;
  bool allow_unverified = false;  ///< Chunks without digests become groups of DigestKind::kNone.
};

/// Makes the index of a layer from the JSON of its TOC, which the caller has verified.
///
/// Entries are applied as LayerBuilder does with those of an archive. Each place in the blob at
/// which chunks begin is a unit: it ends where the next one begins, and is decoded only as far as
/// its last chunk; the chunks in it are its groups.
/// In the stargz dialect the entries stargz.index.json, .prefetch.landmark and
/// .no.prefetch.landmark in the root belong to the format and are left out; what lies before
/// .prefetch.landmark is prefetched. Without it nothing is: only what a converter put first on
/// purpose is worth asking for before anybody reads it.
/// Errors: those of ParseToc, LayerBuilder and LayerIndex::Create; DataLoss when chunks overlap.
Result<LayerIndex> IndexFromToc(std::string_view json, const TocLayerSource& source);

}  // namespace floe::image
