#include "cachemgr/stream/layer_streamer.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace floe::cachemgr {
namespace {

// Of an error of a pass: what the registry sent is not what it was asked for.
Error AsWrongBytes(Error error) {
  return error.code == ErrorCode::kDataLoss ? WithFault(std::move(error), FaultKind::kWrongBytes)
                                            : error;
}

}  // namespace

LayerStreamer::LayerStreamer(Options options, RegistryClients& clients, BlobStore& store,
                             Counters& counters, const Clock& clock)
    : options_(std::move(options)),
      clients_(clients),
      store_(store),
      counters_(counters),
      faults_(counters, clock) {}

Result<std::shared_ptr<const StreamedLayer>> LayerStreamer::Stream(const StreamRequest& request,
                                                                   const StreamControl& control) {
  if (request.digest.IsZero() || request.sources.empty()) {
    return InvalidArgument("a layer without a digest or a source cannot be streamed");
  }
  StreamControl mine = control;
  mine.cancelled = [&] { return stopping_ || control.cancelled(); };
  StreamFlights::Taken taken = flights_.Take(request, mine);
  if (taken.turn == nullptr) {
    return std::move(taken.outcome).value_or(Internal("a stream without an outcome"));
  }
  mine.progress = [&](uint64_t bytes_done) {
    taken.turn->SetProgress(bytes_done);
    control.progress(bytes_done);
  };
  StreamFlights::Outcome outcome;
  if (Result<StreamedLayer> layer = Run(request, mine); layer.has_value()) {
    outcome = std::make_shared<const StreamedLayer>(*std::move(layer));
    ++counters_.layers_streamed;
  } else {
    outcome = std::move(layer).error();
    CountFailure(request, outcome.error());
  }
  taken.turn->SetOutcome(outcome);
  return outcome;
}

void LayerStreamer::CountFailure(const StreamRequest& request, const Error& error) {
  if (error.code == ErrorCode::kCancelled) {
    return;
  }
  ++counters_.streams_failed;
  if (error.fault != FaultKind::kNone) {
    Report(request, request.sources.back(), error, /*retried=*/false);
  }
  LogWarning("layer not streamed digest={} reason=\"{}\"", request.digest.ToString(),
             error.message);
}

Result<StreamedLayer> LayerStreamer::Run(const StreamRequest& request,
                                         const StreamControl& control) {
  const bool known = HasWhole(request.digest, "");
  FLOE_ASSIGN_OR_RETURN(LayerPass::Finished finished, RunPass(request, control, !known));
  const std::string& key = finished.layer.device_key;
  if (known && !key.empty() && !HasWhole(request.digest, key)) {
    // What is there has another layout, that of another index.
    FLOE_ASSIGN_OR_RETURN(finished, RunPass(request, control, /*writes=*/true));
  }
  FLOE_RETURN_IF_ERROR(Adopt(request, finished));
  LogInfo("layer streamed digest={} key={} bytes={} tree_bytes={} windows_bytes={}",
          request.digest.ToString(), finished.layer.device_key, request.size_bytes,
          finished.layer.tree.size(), finished.layer.windows.size());
  return std::move(finished.layer);
}

Result<LayerPass::Finished> LayerStreamer::RunPass(const StreamRequest& request,
                                                   const StreamControl& control, bool writes) {
  for (size_t source = 0;; ++source) {
    Result<LayerPass::Finished> finished = RunOnce(request, control, writes, source);
    if (finished.has_value() || finished.error().code != ErrorCode::kDataLoss) {
      return finished;
    }
    if (source + 1 == request.sources.size()) {
      return finished;
    }
    Report(request, request.sources[source], finished.error(), /*retried=*/true);
  }
}

Result<LayerPass::Finished> LayerStreamer::RunOnce(const StreamRequest& request,
                                                   const StreamControl& control, bool writes,
                                                   size_t& source) {
  FLOE_ASSIGN_OR_RETURN(const auto pass, LayerPass::Start(request, {.blobs = options_.blobs,
                                                                    .boot_id = options_.boot_id,
                                                                    .make_room = options_.make_room,
                                                                    .writes = writes}));
  FLOE_RETURN_IF_ERROR(Download(request, control, *pass, source));
  Result<LayerPass::Finished> finished = pass->Finish();
  return finished.has_value() ? std::move(finished) : AsWrongBytes(std::move(finished).error());
}

Result<void> LayerStreamer::Download(const StreamRequest& request, const StreamControl& control,
                                     LayerPass& pass, size_t& source) {
  for (;; ++source) {
    Result<void> taken;
    Result<void> downloaded = DownloadFrom(request.sources[source], request, control, pass, taken);
    if (!taken.has_value()) {
      return AsWrongBytes(std::move(taken).error());
    }
    if (downloaded.has_value() || source + 1 == request.sources.size()) {
      return downloaded;
    }
    Report(request, request.sources[source], downloaded.error(), /*retried=*/true);
  }
}

Result<void> LayerStreamer::DownloadFrom(const Source& source, const StreamRequest& request,
                                         const StreamControl& control, LayerPass& pass,
                                         Result<void>& taken) {
  FLOE_ASSIGN_OR_RETURN(fetcher::RegistryClient* const client, clients_.For(source));
  uint64_t passed_over = pass.bytes_done();
  const auto take = [&](std::span<const std::byte> bytes) -> Result<void> {
    control.progress(pass.bytes_done());
    if (control.cancelled()) {
      return Cancelled("the caller gave up");
    }
    counters_.fetched_bytes += bytes.size();
    const uint64_t known = std::min<uint64_t>(passed_over, bytes.size());
    passed_over -= known;
    return bytes.size() == known ? Ok() : pass.Feed(bytes.subspan(known));
  };
  return client->StreamBlob(
      source.repository, request.digest, request.size_bytes,
      [&](std::span<const std::byte> bytes) {
        taken = take(bytes);
        return taken;
      },
      Deadline::Infinite());
}

Result<void> LayerStreamer::Adopt(const StreamRequest& request,
                                  const LayerPass::Finished& finished) {
  const std::string& key = finished.layer.device_key;
  if (finished.blob == nullptr) {
    if (!key.empty()) {
      store_.Touch(key);
    }
    return Ok();
  }
  counters_.streamed_bytes += request.size_bytes;
  return RetryWithRoom(options_.make_room, [&]() -> Result<void> {
    FLOE_RETURN_IF_ERROR(store_.Adopt(key, finished.blob->directory(), request.sources));
    return Ok();
  });
}

bool LayerStreamer::HasWhole(const Digest& blob_digest, const std::string& key) {
  return std::ranges::any_of(store_.All(), [&](const std::shared_ptr<Blob>& blob) {
    return blob->map().blob_digest() == blob_digest && blob->cache().IsMountable() &&
           (key.empty() || blob->map().key() == key);
  });
}

void LayerStreamer::Report(const StreamRequest& request, const Source& source, const Error& error,
                           bool retried) {
  faults_.Report({.error = error,
                  .registry = source.repository.registry,
                  .digest = request.digest,
                  .range = {.offset = 0, .length = request.size_bytes},
                  .retried = retried});
}

}  // namespace floe::cachemgr
