#pragma once

#include <optional>

#include "base/digest.h"
#include "base/result.h"
#include "image/manifest.h"
#include "image/stargz/toc_position.h"

namespace floe::image {

/// What the image's manifest says about the table of contents of one layer, and so vouches for.
/// Three families of annotations mean the same things; what several say must agree:
///   containerd.io/snapshot/stargz/toc.digest
///   io.containers.zstd-chunked.manifest-{checksum,position}        (stargz-snapshotter, old
///   c/storage) io.github.containers.zstd-chunked.manifest-{checksum,position} (containers/storage)
struct TocAnnotations {
  std::optional<Digest> toc_digest;         ///< sha256 of the decoded JSON.
  std::optional<Digest> compressed_digest;  ///< sha256 of the compressed TOC.
  std::optional<TocPosition> position;      ///< Inside the blob.
};

/// Whether any annotation says that the layer is eStargz or zstd:chunked.
bool HasTocAnnotations(const Descriptor& layer);

/// InvalidArgument: a value is not of its form; DataLoss: two contradict each other, or a position
/// lies outside the blob; ResourceExhausted and Unimplemented: see CheckTocPosition.
Result<TocAnnotations> ParseTocAnnotations(const Descriptor& layer);

}  // namespace floe::image
