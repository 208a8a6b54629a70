#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "image/convert/archive_splitter.h"

namespace floe::image {

/// What an archive needs before its table of contents can be its last entry: the end of the archive
/// and what an earlier conversion added (table, landmarks) are taken away, and
/// `.no.prefetch.landmark` is put in front, without which stargz's reader prefetches 10 MiB
/// (stargz-snapshotter, docs/estargz.md). Everything else passes unchanged.
///
///   in    |stargz's own entries are dropped| entries ... | end |
///   out   |.no.prefetch.landmark|            entries ... | (the caller adds table and end)
///
/// Unimplemented: more than kMaxHeldBytes before an entry or at the end. One thread at a time.
class EStargzEditor final : public ArchiveSink {
 public:
  /// `next` must outlive the editor.
  explicit EStargzEditor(ArchiveSink& next) : next_(next) {}

  Result<void> OnHeaderBytes(std::span<const std::byte> bytes) override;
  Result<void> OnEntry(const TarEntry& entry) override;
  Result<void> OnContent(std::span<const std::byte> bytes) override;
  Result<void> OnPadding(std::span<const std::byte> bytes) override;
  /// The archive has ended; brings the output to the end of a block.
  Result<void> Finish();

  static constexpr uint64_t kMaxHeldBytes = 64ULL << 20U;

 private:
  Result<void> AddLandmark();

  ArchiveSink& next_;
  bool started_ = false;  ///< The landmark is in the output.
  bool dropping_ = false;
  std::string held_;               ///< Of the next entry's headers, or of the archive's end.
  uint64_t last_block_bytes_ = 0;  ///< Of content and padding since the last header.
};

}  // namespace floe::image
