#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "image/tar_reader.h"

namespace floe::image {

/// Gets what regular files hold while their layer is indexed (IndexerOptions::contents), so that
/// one pass over the bytes can do both. Nothing of it is verified before LayerIndexer::Finish has
/// succeeded. One thread at a time, not always the one that feeds the indexer. An error ends the
/// indexing, which returns it.
class ContentSink {
 public:
  virtual ~ContentSink() = default;

  /// The next regular file has data: these runs of it, sorted, none empty, whose bytes come next;
  /// the file has `size_bytes`, holes included. Every run lies behind those of former files in the
  /// archive. The file may be replaced or hidden by later entries of the archive: only
  /// IndexedLayer::placements says which files are left.
  virtual Result<void> OnFile(std::span<const TarFragment> data, uint64_t size_bytes) = 0;
  /// Bytes of the file's data, never empty, in archive order and without gaps in each run; valid
  /// during the call only.
  virtual Result<void> OnContent(uint64_t archive_offset, std::span<const std::byte> bytes) = 0;
};

}  // namespace floe::image
