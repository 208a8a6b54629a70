#include "image/rafs/rafs_layer.h"

#include <utility>

#include <fmt/format.h>

#include "image/rafs/chunk_layout.h"
#include "image/rafs/file_chunks.h"
#include "image/rafs/prefetch.h"
#include "image/rafs/tree_reader.h"

namespace floe::image::rafs {
namespace {

// Of each blob the chunks that some file uses.
std::vector<std::vector<Chunk>> UsedChunks(const std::vector<Chunk>& chunks,
                                           const std::vector<bool>& used, size_t blob_count) {
  std::vector<std::vector<Chunk>> found(blob_count);
  for (size_t i = 0; i < chunks.size(); ++i) {
    if (used[i]) {
      found[chunks[i].blob].push_back(chunks[i]);
    }
  }
  return found;
}

Result<void> AddBlob(uint32_t number, const Blob& blob, const BlobSource& source,
                     std::vector<Chunk> chunks, LayerIndexData& data, std::string& windows) {
  if (blob.DataEnd() > source.size_bytes) {
    return DataLoss("blob {}: {} bytes of chunks in {}", number, blob.DataEnd(), source.size_bytes);
  }
  SourceBlob to;
  to.digest = blob.digest;
  to.size_bytes = source.size_bytes;
  to.media_type = source.media_type;
  const BlobLayout layout{
      .number = number,
      .blob = blob,
      .info = source.chunk_info ? &*source.chunk_info : nullptr,
      .chunks = std::move(chunks),
  };
  FLOE_RETURN_IF_ERROR(LayOutBlob(layout, to, data, windows));
  data.blobs.push_back(std::move(to));
  return Ok();
}

}  // namespace

Result<Bootstrap> ReadBootstrap(Bytes bytes) {
  Bootstrap bootstrap;
  FLOE_ASSIGN_OR_RETURN(bootstrap.superblock, ReadSuperblock(bytes));
  FLOE_ASSIGN_OR_RETURN(bootstrap.blobs, ReadBlobs(bytes, bootstrap.superblock));
  return bootstrap;
}

Result<RafsLayer> ReadRafsLayer(Bytes bytes, const Bootstrap& bootstrap,
                                const std::vector<BlobSource>& sources) {
  const Superblock& superblock = bootstrap.superblock;
  if (sources.size() != bootstrap.blobs.size()) {
    return Internal("{} sources for {} blobs", sources.size(), bootstrap.blobs.size());
  }
  FLOE_ASSIGN_OR_RETURN(const std::vector<Chunk> chunks,
                        ReadChunkTable(bytes, superblock, bootstrap.blobs));
  LayerIndexData data;
  ChunkResolver resolver(bytes, superblock, chunks);
  TreeReader tree(bytes, superblock, resolver, data);
  FLOE_RETURN_IF_ERROR(tree.Run());
  auto used = UsedChunks(chunks, resolver.used(), sources.size());
  std::vector<std::string> windows(sources.size());
  for (uint32_t i = 0; i < sources.size(); ++i) {
    FLOE_RETURN_IF_ERROR(
        AddBlob(i, bootstrap.blobs[i], sources[i], std::move(used[i]), data, windows[i]));
  }
  AddPrefetch(bytes, superblock, tree, data);
  data.producer = fmt::format("floe {} rafs-v6", FLOE_VERSION);
  FLOE_ASSIGN_OR_RETURN(LayerIndex index, LayerIndex::Create(std::move(data)));
  return RafsLayer{.index = std::move(index), .windows = std::move(windows)};
}

}  // namespace floe::image::rafs
