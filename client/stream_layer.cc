#include "client/stream_layer.h"

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include <grpcpp/completion_queue.h>
#include <grpcpp/support/async_stream.h>

#include "client/grpc_channel.h"

namespace floe::client {
namespace {

namespace v1 = cachemgr::v1;

// So often the caller's flag is looked at.
constexpr std::chrono::milliseconds kPoll{100};
// The cache manager says something every second while it downloads; then it may wait for its disk.
constexpr std::chrono::minutes kSilence{5};
// Of what an index may be: that of a layer with the most inodes and a window for each unit.
constexpr uint64_t kMaxPartBytes = 4ULL << 30U;

v1::StreamLayerRequest MakeRequest(const StreamLayerCall& call) {
  v1::StreamLayerRequest request;
  request.set_digest(call.digest.ToString());
  request.set_size_bytes(call.size_bytes);
  request.set_media_type(call.media_type);
  if (!call.diff_id.IsZero()) {
    request.set_diff_id(call.diff_id.ToString());
  }
  for (const fetcher::Repository& repository : call.sources) {
    v1::Source& source = *request.add_sources();
    source.set_registry(repository.registry);
    source.set_repository(repository.path);
    source.set_plain_http(call.plain_http);
  }
  return request;
}

/// One call: its steps run on its own queue, so that waiting for one can be given up.
class Call {
 public:
  Call(v1::CacheManager::Stub& stub, const StreamLayerCall& call, const StreamProgress& progress,
       const std::atomic<bool>* cancel)
      : progress_(progress), cancel_(cancel) {
    reader_ = stub.PrepareAsyncStreamLayer(&context_, MakeRequest(call), &queue_);
  }
  ~Call() {
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  Result<StreamedLayer> Run(const std::string& peer) {
    reader_->StartCall(this);
    Result<void> taken = Ok();
    for (bool open = Step(); open && taken.has_value();) {
      v1::StreamLayerReply reply;
      reader_->Read(&reply, this);
      open = Step();
      if (open) {
        taken = Take(reply);
      }
    }
    if (!taken.has_value()) {
      context_.TryCancel();
    }
    grpc::Status status;
    reader_->Finish(&status, this);
    (void)Step();
    FLOE_RETURN_IF_ERROR(taken);
    if (given_up_.has_value()) {
      return WithContext(*given_up_, peer);
    }
    FLOE_RETURN_IF_ERROR(FromGrpc(status, peer));
    return is_done_ ? Result<StreamedLayer>(std::move(layer_))
                    : DataLoss("{}: the replies end before the layer is done", peer);
  }

 private:
  /// Waits for what was started last; false when it did not happen.
  bool Step() {
    const auto silent = std::chrono::system_clock::now() + kSilence;
    for (;;) {
      void* tag = nullptr;
      bool ok = false;
      if (queue_.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + kPoll) ==
          grpc::CompletionQueue::GOT_EVENT) {
        return ok;
      }
      if (cancel_ != nullptr && cancel_->load()) {
        GiveUp(Cancelled("the caller gave up"));
      } else if (std::chrono::system_clock::now() > silent) {
        GiveUp(DeadlineExceeded("nothing was heard for {} minutes", kSilence.count()));
      }
    }
  }
  void GiveUp(Error error) {
    if (!given_up_.has_value()) {
      given_up_ = std::move(error);
      context_.TryCancel();
    }
  }

  Result<void> Take(const v1::StreamLayerReply& reply) {
    switch (reply.kind_case()) {
      case v1::StreamLayerReply::kBytesDone:
        if (progress_) {
          progress_(reply.bytes_done());
        }
        return Ok();
      case v1::StreamLayerReply::kTreePart:
        return Append(reply.tree_part(), layer_.tree);
      case v1::StreamLayerReply::kWindowsPart:
        return Append(reply.windows_part(), layer_.windows);
      case v1::StreamLayerReply::kDone:
        layer_.device_key = reply.done().device_key();
        is_done_ = true;
        return Ok();
      case v1::StreamLayerReply::KIND_NOT_SET:
        break;
    }
    return Ok();  // Of a later version.
  }
  static Result<void> Append(const std::string& part, std::string& whole) {
    if (part.size() > kMaxPartBytes - whole.size()) {
      return ResourceExhausted("an index of more than {} bytes", kMaxPartBytes);
    }
    whole += part;
    return Ok();
  }

  const StreamProgress& progress_;
  const std::atomic<bool>* const cancel_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientAsyncReader<v1::StreamLayerReply>> reader_;
  std::optional<Error> given_up_;
  StreamedLayer layer_;
  bool is_done_ = false;
};

}  // namespace

Result<StreamedLayer> StreamLayerOver(v1::CacheManager::Stub& stub, const std::string& peer,
                                      const StreamLayerCall& call, const StreamProgress& progress,
                                      const std::atomic<bool>* cancel) {
  return Call(stub, call, progress, cancel).Run(peer);
}

}  // namespace floe::client
