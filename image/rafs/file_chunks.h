#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "image/layer_index.h"
#include "image/rafs/chunk_table.h"
#include "image/rafs/inode.h"

namespace floe::image::rafs {

/// Finds the chunks of files, and remembers which ones any file uses.
class ChunkResolver {
 public:
  /// `chunks` as ReadChunkTable gives them. All must outlive this.
  ChunkResolver(Bytes bootstrap, const Superblock& superblock, std::span<const Chunk> chunks)
      : bootstrap_(bootstrap),
        superblock_(superblock),
        chunks_(chunks),
        used_(chunks.size(), false) {}

  /// Bytes of the bootstrap that hold the chunk indexes of a file.
  [[nodiscard]] uint64_t IndexBytes(const InodeRecord& file) const;

  /// The segments of a regular file, appended to `segments`: chunks that follow each other in the
  /// file and on a device are one. Each chunk index must name a chunk of the table with exactly the
  /// place and the length that the file has there, so that no byte of a file is without a digest.
  Result<void> AddSegments(const InodeRecord& file, std::vector<Segment>& segments);

  [[nodiscard]] const std::vector<bool>& used() const { return used_; }

 private:
  struct Place;
  [[nodiscard]] Result<Place> ReadIndex(const InodeRecord& file, uint64_t number) const;
  [[nodiscard]] Result<Place> FindPlace(const InodeRecord& file, uint64_t number,
                                        uint64_t kernel_chunk) const;
  Result<void> UseChunk(const InodeRecord& file, const Place& place, uint64_t length);

  const Bytes bootstrap_;
  const Superblock& superblock_;
  const std::span<const Chunk> chunks_;
  std::vector<bool> used_;
};

}  // namespace floe::image::rafs
