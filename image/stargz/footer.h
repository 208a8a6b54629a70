#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/byte_range.h"
#include "base/result.h"

namespace floe::image {

/// The ways in which the last bytes of a layer say where its table of contents (TOC) is.
enum class FooterKind : uint8_t {
  kEstargz,         ///< 51 bytes: an empty gzip member with a subfield "SG".
  kLegacyStargz,    ///< 47 bytes: the same without the subfield's header (stargz of CRFS).
  kExternalToc,     ///< 46 bytes: the TOC is in an image of its own.
  kZstdStargz,      ///< 40 bytes in a skippable zstd frame (stargz-snapshotter).
  kZstdContainers,  ///< 64 bytes in a skippable zstd frame (containers/storage).
};

/// What a footer says, checked against the blob's size.
struct Footer {
  FooterKind kind = FooterKind::kEstargz;
  /// Compressed: one gzip member or one zstd frame (without the header of the skippable frame that
  /// it lies in). Empty: external.
  ByteRange toc;
  uint64_t toc_decoded_length = 0;  ///< zstd: of the JSON, as the footer says; gzip: 0.
  uint64_t payload_end = 0;         ///< Where the archive's last gzip member or zstd frame ends.
};

/// The largest footer. A shorter `tail` must be the whole blob.
inline constexpr size_t kMaxFooterBytes = 64;

/// Reads the footer at the end of `tail`, the last bytes of a blob. NotFound: there is none that is
/// known; DataLoss: what it says lies outside the blob; Unimplemented: a TOC of another type.
/// Sources: docs/estargz.md ("Footer") of stargz-snapshotter, its zstdchunked package, and
/// pkg/chunked/internal of containers/storage.
Result<Footer> ParseFooter(std::span<const std::byte> tail, uint64_t blob_size_bytes);

}  // namespace floe::image
