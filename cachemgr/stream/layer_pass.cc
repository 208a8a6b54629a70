#include "cachemgr/stream/layer_pass.h"

#include <utility>

#include "erofs/native_layer_indexer.h"
#include "image/blob_map.h"
#include "image/index_codec.h"
#include "image/manifest.h"

namespace floe::cachemgr {

Result<std::unique_ptr<LayerPass>> LayerPass::Start(const StreamRequest& request, Options options) {
  std::unique_ptr<LayerPass> pass(new LayerPass(request, std::move(options)));
  FLOE_RETURN_IF_ERROR(pass->Open());
  return pass;
}

Result<void> LayerPass::Open() {
  if (options_.writes) {
    FLOE_ASSIGN_OR_RETURN(blob_, HalfMadeBlob::Create(options_.blobs));
  }
  image::LayerSource source{request_.digest, request_.size_bytes, request_.media_type,
                            request_.diff_id};
  image::IndexerOptions indexing;
  indexing.span_bytes = kSpanBytes;
  if (image::IsErofsLayerMediaType(request_.media_type)) {
    // Its metadata may lie anywhere: the image is put aside whole, and its files are copied from
    // it.
    FLOE_ASSIGN_OR_RETURN(
        indexer_, erofs::NativeLayerIndexer::Create(std::move(source), indexing, options_.blobs,
                                                    blob_ != nullptr ? blob_->data_fd() : -1));
    return Ok();
  }
  if (blob_ != nullptr) {
    writer_.emplace(blob_->data_fd(), options_.make_room);
    indexing.contents = &*writer_;
  }
  indexing.pipelined = true;
  FLOE_ASSIGN_OR_RETURN(indexer_, image::LayerIndexer::Create(std::move(source), indexing));
  return Ok();
}

Result<void> LayerPass::Feed(std::span<const std::byte> bytes) {
  bytes_done_ += bytes.size();
  return indexer_->Feed(bytes);
}

Result<LayerPass::Finished> LayerPass::Finish() {
  FLOE_ASSIGN_OR_RETURN(image::IndexedLayer indexed, indexer_->Finish());
  indexer_.reset();
  Finished finished;
  const uint64_t device_bytes = indexed.index.data().blobs.front().device_size_bytes;
  if (device_bytes > 0) {
    const std::string map = image::EncodeBlobMap(indexed.index, 0);
    finished.layer.device_key = image::DeviceKey(map);
    if (writer_.has_value()) {
      FLOE_RETURN_IF_ERROR(writer_->Finish(indexed.placements, device_bytes));
    }
    if (blob_ != nullptr) {
      FLOE_RETURN_IF_ERROR(blob_->Seal(map, finished.layer.device_key, options_.boot_id,
                                       request_.sources, options_.make_room));
      finished.blob = std::move(blob_);
    }
  }
  FLOE_ASSIGN_OR_RETURN(finished.layer.tree, image::EncodeLayerIndex(indexed.index));
  finished.layer.windows = std::move(indexed.windows);
  return finished;
}

}  // namespace floe::cachemgr
