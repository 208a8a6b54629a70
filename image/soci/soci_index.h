#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/result.h"
#include "image/manifest.h"

/// The SOCI index: an OCI image manifest whose layers are ztocs, one for each layer of an image
/// that can be lazy (docs/layer-formats.md, "SOCI"). Pure functions over bytes.
namespace floe::image {

/// Version 1 is a referrer of the image manifest; version 2 is named by it.
inline constexpr std::string_view kSociV1IndexType = "application/vnd.amazon.soci.index.v1+json";
inline constexpr std::string_view kSociV2IndexType = "application/vnd.amazon.soci.index.v2+json";

/// An object that an index names.
struct SociObject {
  Digest digest;
  uint64_t size_bytes = 0;
};

/// What an index has for one layer.
struct SociLayer {
  SociObject ztoc;
  std::optional<SociObject> prefetch;  ///< A list for ParseSociPrefetch.
  std::string media_type;              ///< Of the layer, as the index says; may be empty.
  /// Decoded bytes of a span, roughly, as the index says. The ztoc's own spans count.
  std::optional<uint64_t> span_bytes;
  bool disable_xattrs = false;  ///< The layer has no extended attributes that anybody should see.
};

struct SociIndex {
  int version = 0;                       ///< 1 or 2.
  std::optional<Digest> image_manifest;  ///< The subject: version 1.
  std::map<Digest, SociLayer> layers;    ///< By digest of the image's layer.
};

/// InvalidArgument: not a SOCI index, version 1 without a subject, version 2 with one, a ztoc that
/// does not say of which layer it is; DataLoss: two different ztocs for one layer. Descriptors of
/// other things are left out, and prefetch lists of layers that have no ztoc.
Result<SociIndex> ParseSociIndex(std::string_view manifest_bytes);

}  // namespace floe::image
