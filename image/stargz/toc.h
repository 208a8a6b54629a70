#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/layer_index.h"
#include "image/tar_reader.h"

namespace floe::image {

/// A piece of a regular file that is verified at once.
struct TocChunk {
  uint64_t file_offset = 0;
  uint64_t length = 0;        ///< Not 0.
  uint64_t offset = 0;        ///< In the blob: where a gzip member or zstd frame begins ...
  uint64_t inner_offset = 0;  ///< ... and how far into its decoded bytes the chunk is.
  /// In the blob: nothing at or after it is needed. At most TocLimits::payload_end.
  uint64_t end_offset = 0;
  DigestKind digest_kind = DigestKind::kSha256;  ///< Or kNone.
  Sha256 digest{};
};

struct TocEntry {
  TarEntry header;  ///< As in the archive, but for `data`, which is empty.
  uint32_t first_chunk = 0, chunk_count = 0;  ///< In Toc::chunks; sorted, holes left out.
};

/// The table of contents of a layer in one of its dialects, validated by itself: each entry is
/// complete, and chunks and holes tile each file exactly.
struct Toc {
  std::vector<TocEntry> entries;  ///< In the order of the archive.
  std::vector<TocChunk> chunks;
};

struct TocLimits {
  uint64_t payload_end = 0;       ///< Where the data of the blob ends.
  bool allow_unverified = false;  ///< Chunks without a digest are taken.
};

/// InvalidArgument: it is no such table; DataLoss: it contradicts itself or the blob;
/// FailedPrecondition: chunk digests are missing; Unimplemented: a chunk that is too large;
/// ResourceExhausted: see ReadTocJson.
/// Sources: docs/estargz.md of stargz-snapshotter ("TOC"), pkg/chunked of containers/storage.
Result<Toc> ParseToc(std::string_view json, const TocLimits& limits);

}  // namespace floe::image
