#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "image/rafs/fields.h"

/// The table of contents at the end of a Nydus data blob (storage/src/meta/toc.rs of
/// dragonflyoss/nydus). Such a blob is like a tar archive turned round: each part is followed by
/// its header, and nothing is padded.
///
///     data | header | chunk information | header | ... | entries of 128 bytes | header, 512 bytes
namespace floe::image::rafs {

enum class TocCompression : uint32_t { kNone = 1, kZstd = 2, kLz4 = 4 };

struct TocEntry {
  std::string
      name;  ///< "image.blob", "blob.meta", "blob.meta.header", "blob.digest", "image.boot".
  TocCompression compression = TocCompression::kNone;
  Sha256 digest{};       ///< sha256 of the uncompressed content.
  ByteRange compressed;  ///< In the blob.
  uint64_t uncompressed_bytes = 0;
};

struct Toc {
  std::vector<TocEntry> entries;
  Digest digest;       ///< sha256 of entries and header: a blob table's blob_toc_digest.
  uint64_t bytes = 0;  ///< With its header: a blob table's blob_toc_size.
};

/// `end` are the last bytes of a blob of `blob_bytes`, as many as the caller has: the table must be
/// in them. NotFound: the blob has none. DataLoss: it lies.
Result<Toc> ReadToc(Bytes end, uint64_t blob_bytes);

}  // namespace floe::image::rafs
