#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/result.h"
#include "image/rafs/fields.h"

namespace floe::image::rafs {

/// The bootstrap layer of a Nydus image: a tar archive with "image/image.boot" (legacy images:
/// "image.boot") and, for most images, an "image/<id>.blob.meta" for each data layer.
class BootstrapArchive {
 public:
  /// `layer` is the layer's blob, gzip or plain tar. InvalidArgument: it is neither, is damaged, or
  /// has no bootstrap or two; DataLoss: more than `limit_bytes` when decompressed.
  static Result<BootstrapArchive> Read(Bytes layer, uint64_t limit_bytes);

  [[nodiscard]] Bytes bootstrap() const { return At(bootstrap_); }
  /// The chunk information file of a data layer; empty when there is none.
  [[nodiscard]] Bytes ChunkInfoFile(const Digest& layer) const;
  /// Of the whole archive, uncompressed.
  [[nodiscard]] Digest DiffId() const { return Digest::Of(archive_); }

 private:
  [[nodiscard]] Bytes At(ByteRange range) const {
    return std::as_bytes(std::span(archive_.data(), archive_.size()))
        .subspan(range.offset, range.length);
  }

  std::string archive_;
  ByteRange bootstrap_;
  std::map<std::string, ByteRange, std::less<>> chunk_info_;  ///< By the hex id.
};

}  // namespace floe::image::rafs
