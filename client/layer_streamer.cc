#include <utility>

#include "client/cachemgr_client.h"

namespace floe::client {
namespace {

class CachemgrStreamer final : public prepare::LayerStreamer {
 public:
  CachemgrStreamer(CachemgrClient& client, std::function<bool(const std::string&)> plain_http)
      : client_(client), plain_http_(std::move(plain_http)) {}

  Result<prepare::StreamedLayer> StreamLayer(const prepare::StreamCall& call,
                                             const ProgressFn& on_progress,
                                             const std::atomic<bool>* cancel) override {
    FLOE_ASSIGN_OR_RETURN(StreamedLayer streamed,
                          client_.StreamLayer({.digest = call.layer.digest,
                                               .size_bytes = call.layer.size_bytes,
                                               .media_type = call.layer.media_type,
                                               .diff_id = call.diff_id,
                                               .sources = {call.source},
                                               .plain_http = plain_http_(call.source.registry)},
                                              on_progress, cancel));
    return prepare::StreamedLayer{std::move(streamed.tree), std::move(streamed.windows)};
  }

 private:
  CachemgrClient& client_;
  const std::function<bool(const std::string&)> plain_http_;
};

}  // namespace

std::unique_ptr<prepare::LayerStreamer> MakeLayerStreamer(
    CachemgrClient& client, std::function<bool(const std::string& registry)> plain_http) {
  return std::make_unique<CachemgrStreamer>(client, std::move(plain_http));
}

}  // namespace floe::client
