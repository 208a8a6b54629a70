#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include <grpcpp/server_context.h>
#include <grpcpp/support/sync_stream.h>

#include "base/result.h"
#include "cachemgr/stream/streamed_layer.h"
#include "floe/cachemgr/v1/cachemgr.pb.h"

namespace floe::cachemgr {

/// Writes the replies of one StreamLayer call. Of the call's thread.
class StreamReplies {
 public:
  /// Both must outlive this.
  StreamReplies(grpc::ServerContext& context, grpc::ServerWriter<v1::StreamLayerReply>& writer)
      : context_(context), writer_(writer) {}

  /// Progress, a few times a second; cancelled when the caller is gone. Uses this.
  [[nodiscard]] StreamControl control();
  /// The parts of the index, and that it is done. Cancelled: the caller is gone.
  Result<void> Send(const StreamedLayer& layer);

 private:
  void Progress(uint64_t bytes_done);
  Result<void> SendParts(std::string_view bytes, bool windows);
  Result<void> Write(const v1::StreamLayerReply& reply);

  grpc::ServerContext& context_;
  grpc::ServerWriter<v1::StreamLayerReply>& writer_;
  std::chrono::steady_clock::time_point next_progress_ = {};
};

}  // namespace floe::cachemgr
