#include "cachemgr/service/stream_replies.h"

#include <algorithm>
#include <string>

namespace floe::cachemgr {
namespace {

constexpr size_t kPartBytes = 1U << 20U;
constexpr std::chrono::milliseconds kProgressInterval{200};

}  // namespace

StreamControl StreamReplies::control() {
  return {.progress = [this](uint64_t bytes_done) { Progress(bytes_done); },
          .cancelled = [this] { return context_.IsCancelled(); }};
}

void StreamReplies::Progress(uint64_t bytes_done) {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_progress_) {
    return;
  }
  next_progress_ = now + kProgressInterval;
  v1::StreamLayerReply reply;
  reply.set_bytes_done(bytes_done);
  (void)writer_.Write(reply);  // Whether the caller is gone the context says.
}

Result<void> StreamReplies::Send(const StreamedLayer& layer) {
  FLOE_RETURN_IF_ERROR(SendParts(layer.tree, /*windows=*/false));
  FLOE_RETURN_IF_ERROR(SendParts(layer.windows, /*windows=*/true));
  v1::StreamLayerReply reply;
  reply.mutable_done()->set_device_key(layer.device_key);
  return Write(reply);
}

Result<void> StreamReplies::SendParts(std::string_view bytes, bool windows) {
  for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), kPartBytes))) {
    v1::StreamLayerReply reply;
    std::string& part = windows ? *reply.mutable_windows_part() : *reply.mutable_tree_part();
    part = bytes.substr(0, kPartBytes);
    FLOE_RETURN_IF_ERROR(Write(reply));
  }
  return Ok();
}

Result<void> StreamReplies::Write(const v1::StreamLayerReply& reply) {
  return writer_.Write(reply) ? Ok() : Result<void>(Cancelled("the caller is gone"));
}

}  // namespace floe::cachemgr
