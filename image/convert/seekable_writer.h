#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "image/convert/archive_splitter.h"
#include "image/convert/blob_writer.h"
#include "image/convert/tar_split_collector.h"
#include "image/convert/toc_writer.h"

namespace floe::image {

/// What a layer is written as. All decode to a tar with the ordinary tools of gzip and zstd.
enum class SeekableFormat {
  kZstdChunked,         ///< zstd frames; the table of contents in a skippable frame.
  kEStargz,             ///< gzip members; the table is the archive's last entry.
  kEStargzExternalToc,  ///< gzip members; the table is a blob of its own.
};

/// Which readers of zstd:chunked the manifest speaks to; the blob is the same. Not both: podman
/// refuses layers that carry the annotations of both.
enum class ZstdAnnotations { kStargz, kPodman };

struct SeekableOptions {
  SeekableFormat format = SeekableFormat::kZstdChunked;
  ZstdAnnotations annotations = ZstdAnnotations::kStargz;
  uint64_t chunk_bytes = 4U << 20U;  ///< Larger files are cut into chunks of this many bytes.
  int level = 0;                     ///< Of compression; 0: 3 for zstd, 6 for gzip.
};

/// What a descriptor of the blob needs.
struct SeekableBlob {
  Digest digest;
  uint64_t size_bytes = 0;
  std::string media_type;
  std::map<std::string, std::string> annotations;
  Digest diff_id;  ///< Of the archive that it decodes to.
  uint64_t archive_bytes = 0;
  uint64_t entries = 0, chunks = 0;
  std::string toc_blob;  ///< kEStargzExternalToc: tar+gzip with the table.
};

/// Writes an archive's bytes, as they are, as a blob of which each file, or each chunk of a large
/// one, can be decoded alone, and a table of contents that says where it is:
///
///   zstd:chunked  |headers|chunk|padding, headers|chunk|...|end|TOC|tar-split|footer|
///   eStargz       |headers|chunk, padding, headers|chunk, ...|TOC|footer|
///                  each |...| is a frame or member of its own
///
/// Equal archives and options give equal bytes. Unimplemented, naming the entry: sparse files, of
/// which the table cannot tell where the holes are, and what TocWriter refuses. One thread at a
/// time; memory: a chunk, some headers, the table and the tar-split stream (both as text).
class SeekableWriter final : public ArchiveSink {
 public:
  /// InvalidArgument: options out of range.
  static Result<std::unique_ptr<SeekableWriter>> Create(const SeekableOptions& options,
                                                        BlobSink sink);

  Result<void> OnHeaderBytes(std::span<const std::byte> bytes) override;
  Result<void> OnEntry(const TarEntry& entry) override;
  Result<void> OnContent(std::span<const std::byte> bytes) override;
  Result<void> OnPadding(std::span<const std::byte> bytes) override;
  /// The archive has ended.
  Result<SeekableBlob> Finish();

 private:
  SeekableWriter(const SeekableOptions& options, std::unique_ptr<FrameEncoder> encoder,
                 BlobSink sink);

  Result<void> AppendSmall(std::span<const std::byte> bytes);
  Result<void> StartChunk();
  Result<void> EndChunk();
  Result<void> EndFile();
  Result<void> FinishZstd(SeekableBlob& blob);
  Result<void> FinishEStargz(SeekableBlob& blob);
  Result<void> FinishExternal(SeekableBlob& blob);

  const SeekableOptions options_;
  BlobWriter writer_;
  TocWriter toc_;
  std::unique_ptr<TarSplitCollector> tar_split_;  ///< zstd:chunked.

  TarEntry entry_;      ///< Whose content passes.
  TocContent content_;  ///< Of it, so far.
  uint64_t file_left_ = 0, chunk_left_ = 0;
  Sha256Hasher file_hasher_, chunk_hasher_;
  uint64_t entries_ = 0, chunks_ = 0;
};

/// The annotation with the digest of the (uncompressed) table of contents.
inline constexpr const char* kTocDigestAnnotation = "containerd.io/snapshot/stargz/toc.digest";
/// In an image of external tables: the digest of the layer that a table describes.
inline constexpr const char* kTocLayerAnnotation = "containerd.io/snapshot/stargz/layer.digest";
/// True for the annotations that describe a layer as eStargz or zstd:chunked.
bool IsSeekableAnnotation(std::string_view name);

}  // namespace floe::image
