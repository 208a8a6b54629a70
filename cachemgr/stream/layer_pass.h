#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "cachemgr/stream/device_writer.h"
#include "cachemgr/stream/half_made_blob.h"
#include "cachemgr/stream/retry_with_room.h"
#include "cachemgr/stream/streamed_layer.h"
#include "image/layer_indexer.h"

namespace floe::cachemgr {

/// One pass over the bytes of a layer: they are indexed and verified, and what the files hold is
/// written. Feed all bytes in order, then Finish. One thread at a time; the errors are those of
/// image::LayerIndexer, and ResourceExhausted for a full disk.
class LayerPass {
 public:
  /// Of the units. Larger than those of an index that is published for lazy starts: a streamed
  /// layer needs its units only once its blob was evicted, and windows cost a fifth of the pass at
  /// 256 KiB. Most units are just small enough to stay one group.
  static constexpr uint64_t kSpanBytes = 896U << 10U;

  struct Options {
    std::filesystem::path blobs;  ///< Where the blob is made.
    std::string boot_id;
    MakeRoom make_room = [] { return false; };
    /// False: nothing is written, only indexed.
    bool writes = true;
  };
  static Result<std::unique_ptr<LayerPass>> Start(const StreamRequest& request, Options options);

  Result<void> Feed(std::span<const std::byte> bytes);
  /// Bytes that were fed.
  [[nodiscard]] uint64_t bytes_done() const { return bytes_done_; }

  /// All digests match. The blob, when it was written and is not empty, is sealed.
  struct Finished {
    StreamedLayer layer;
    std::unique_ptr<HalfMadeBlob> blob = nullptr;
  };
  Result<Finished> Finish();

 private:
  LayerPass(const StreamRequest& request, Options options)
      : request_(request), options_(std::move(options)) {}
  Result<void> Open();

  const StreamRequest& request_;
  const Options options_;
  std::unique_ptr<HalfMadeBlob> blob_;            ///< Null: nothing is written.
  std::optional<DeviceWriter> writer_;            ///< Of tar layers that are written.
  std::unique_ptr<image::LayerIndexer> indexer_;  ///< After what it writes to.
  uint64_t bytes_done_ = 0;
};

}  // namespace floe::cachemgr
