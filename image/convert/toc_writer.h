#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "image/tar_reader.h"

namespace floe::image {

/// Name of the table of contents in an eStargz archive, and of the entry that asks stargz's reader
/// not to prefetch (stargz-snapshotter, docs/estargz.md).
inline constexpr const char* kTocEntryName = "stargz.index.json";
inline constexpr const char* kPrefetchLandmark = ".prefetch.landmark";
inline constexpr const char* kNoPrefetchLandmark = ".no.prefetch.landmark";

/// A piece of a file that is compressed alone.
struct WrittenChunk {
  uint64_t blob_offset = 0;  ///< Of the frame or member that it starts.
  uint64_t file_offset = 0;
  uint64_t length = 0;
  Digest digest;  ///< Of the uncompressed bytes.
};

/// What is known of a regular file once its content has passed.
struct TocContent {
  std::vector<WrittenChunk> chunks;  ///< In order, together the file.
  Digest digest;                     ///< Of the file.
  uint64_t blob_end = 0;             ///< Where the last chunk's frame ends; 0: not told.
};

/// Writes the table of contents that eStargz and both dialects of zstd:chunked share: JSON, one row
/// an entry in archive order and one more for each further chunk of a file. Sub-second times are
/// kept (RFC 3339 has them). Rows are kept as text. One thread at a time.
class TocWriter {
 public:
  /// `content` is null for everything but regular files. Unimplemented: what JSON cannot hold (a
  /// name that is not UTF-8, a year beyond 9999), an unknown type, a table beyond kMaxTocBytes; one
  /// line that names the entry.
  Result<void> Add(const TarEntry& entry, const TocContent* content);
  /// The whole document. `tar_split`: the digest that podman's dialect wants in it; zero: none.
  [[nodiscard]] std::string Finish(const Digest& tar_split) const;

 private:
  Result<void> AddRow(const std::string& row);

  std::string rows_;
};

/// More would not be read back: readers set themselves limits.
inline constexpr uint64_t kMaxTocBytes = 512ULL << 20U;

/// "2023-11-14T22:13:20.5Z". OutOfRange: a year that RFC 3339 cannot write.
Result<std::string> FormatRfc3339(int64_t seconds, uint32_t nanoseconds);

}  // namespace floe::image
