#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace floe::image {

/// Where a table of contents lies in a zstd:chunked blob: the zstd frame in a skippable frame.
struct ZstdTocPosition {
  uint64_t offset = 0, compressed_bytes = 0, raw_bytes = 0;
};

/// A zstd skippable frame with this content, which must be shorter than 4 GiB (RFC 8878, 3.1.2).
std::string SkippableFrame(std::string_view content);
/// Bytes in front of the content.
inline constexpr uint64_t kSkippableHeaderBytes = 8;
inline constexpr uint64_t kMaxSkippableBytes = UINT32_MAX;

/// The content of the footer frame of stargz-snapshotter's zstd:chunked: 40 bytes.
std::string ZstdChunkedFooter(const ZstdTocPosition& toc);

/// The eStargz footer (stargz-snapshotter, docs/estargz.md): an empty gzip member of 51 bytes whose
/// extra field says where the table of contents begins.
std::string EStargzFooter(uint64_t toc_offset);
/// The same, 46 bytes, where the table is in an image of its own.
std::string ExternalTocFooter();

/// One header block (ustar) of a regular file, owned by root, of 1970. `name` is at most 100 bytes,
/// `size_bytes` below 8 GiB.
std::string UstarHeader(std::string_view name, uint64_t size_bytes);
/// A file with its padding, and the end of the archive.
std::string LastTarFile(std::string_view name, std::string_view content);

}  // namespace floe::image
