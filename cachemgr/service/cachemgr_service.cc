#include "cachemgr/service/cachemgr_service.h"

#include <utility>

#include "cachemgr/service/grpc_status.h"
#include "cachemgr/service/stream_replies.h"

namespace floe::cachemgr {
namespace {

Source FromMessage(const v1::Source& message) {
  return {.repository = {.registry = message.registry(), .path = message.repository()},
          .plain_http = message.plain_http()};
}

Result<StreamRequest> FromMessage(const v1::StreamLayerRequest& message) {
  StreamRequest request{.size_bytes = message.size_bytes(), .media_type = message.media_type()};
  FLOE_ASSIGN_OR_RETURN(request.digest, Digest::Parse(message.digest()));
  if (!message.diff_id().empty()) {
    FLOE_ASSIGN_OR_RETURN(request.diff_id, Digest::Parse(message.diff_id()));
  }
  for (const v1::Source& source : message.sources()) {
    request.sources.push_back(FromMessage(source));
  }
  return request;
}

Result<MountRequest> FromMessage(const v1::MountRequest& message) {
  MountRequest request;
  request.id = message.id();
  request.bootstrap = message.bootstrap_path();
  request.target = message.target();
  FLOE_ASSIGN_OR_RETURN(request.bootstrap_digest, Digest::Parse(message.bootstrap_digest()));
  for (const v1::Device& from : message.devices()) {
    DeviceRequest device{
        .key = from.key(), .blob_map = from.blob_map_path(), .windows = from.windows_path()};
    for (const v1::Source& source : from.sources()) {
      device.sources.push_back(FromMessage(source));
    }
    for (const v1::UnitRun& run : from.prefetch()) {
      device.prefetch.push_back({.first_unit = run.first_unit(), .unit_count = run.unit_count()});
    }
    for (const v1::UnitRun& run : from.prefetch()) {
      device.prefetch.push_back({.first_unit = run.first_unit(), .unit_count = run.unit_count()});
    }
    request.devices.push_back(std::move(device));
  }
  for (const v1::LayerNote& layer : message.layers()) {
    request.layers.push_back({.digest = layer.digest(),
                              .reader = layer.reader(),
                              .origin = layer.origin(),
                              .why_not = layer.why_not()});
  }
  return request;
}

void ToMessage(const BlobStatus& blob, v1::BlobStatus& message) {
  message.set_key(blob.key);
  message.set_blob_digest(blob.blob_digest);
  message.set_device_bytes(blob.device_bytes);
  message.set_present_bytes(blob.present_bytes);
  message.set_disk_bytes(blob.disk_bytes);
  message.set_blob_bytes(blob.blob_bytes);
  message.set_fetched_bytes(blob.fetched_bytes);
  message.set_mounts(blob.mounts);
  message.set_complete(blob.complete);
}

void ToMessage(const MountStatus& mount, v1::MountStatus& message) {
  message.set_id(mount.record.id);
  message.set_target(mount.record.target);
  message.set_channel(mount.record.channel);
  for (const std::string& key : mount.record.keys) {
    message.add_keys(key);
  }
  message.set_live(mount.live);
  message.set_lost(mount.record.lost);
  message.set_detached(mount.detached);
  for (const LayerNote& layer : mount.record.layers) {
    v1::LayerNote& out = *message.add_layers();
    out.set_digest(layer.digest);
    out.set_reader(layer.reader);
    out.set_origin(layer.origin);
    out.set_why_not(layer.why_not);
  }
}

void ToMessage(const CacheUsage& usage, v1::CacheUsage& message) {
  message.set_used_bytes(usage.used_bytes);
  message.set_max_bytes(usage.limits.max_bytes);
  message.set_disk_free_bytes(usage.disk.free_bytes);
  message.set_disk_total_bytes(usage.disk.total_bytes);
  message.set_min_free_percent(usage.limits.min_free_percent);
  message.set_evicted_blobs(usage.evicted_blobs);
  message.set_evicted_bytes(usage.evicted_bytes);
}

void ToMessage(const Counters& counters, v1::Counters& message) {
  message.set_reads_hit(counters.reads_hit);
  message.set_reads_joined(counters.reads_joined);
  message.set_reads_filled(counters.reads_filled);
  message.set_reads_failed(counters.reads_failed);
  message.set_reads_inflight(counters.reads_inflight);
  message.set_fetched_bytes(counters.fetched_bytes);
  message.set_integrity_errors(counters.integrity_errors);
  message.set_layers_streamed(counters.layers_streamed);
  message.set_streamed_bytes(counters.streamed_bytes);
  message.set_streams_failed(counters.streams_failed);
  for (size_t i = 0; i < kFaultKinds; ++i) {
    const FaultCount& count = counters.faults.at(i);
    if (count.all == 0) {
      continue;
    }
    const auto kind = static_cast<FaultKind>(i);
    auto& faults = IsIntegrityFault(kind) ? *message.mutable_integrity_faults()
                                          : *message.mutable_network_faults();
    v1::FaultCount& out = faults[std::string(FaultKindName(kind))];
    out.set_all(count.all);
    out.set_retried(count.retried);
  }
}

}  // namespace

grpc::Status CachemgrService::Mount(grpc::ServerContext* /*context*/,
                                    const v1::MountRequest* request, v1::MountReply* reply) {
  const auto parsed = FromMessage(*request);
  if (!parsed) {
    return ToGrpcStatus(parsed.error());
  }
  const auto outcome = manager_.Mount(*parsed);
  if (!outcome) {
    return ToGrpcStatus(outcome.error());
  }
  reply->set_channel(outcome->channel);
  reply->set_already_mounted(outcome->already_mounted);
  return grpc::Status::OK;
}

grpc::Status CachemgrService::Unmount(grpc::ServerContext* /*context*/,
                                      const v1::UnmountRequest* request,
                                      v1::UnmountReply* /*reply*/) {
  return ToGrpcStatus(manager_.Unmount(request->id(), request->detach()));
}

grpc::Status CachemgrService::StreamLayer(grpc::ServerContext* context,
                                          const v1::StreamLayerRequest* request,
                                          grpc::ServerWriter<v1::StreamLayerReply>* writer) {
  const auto parsed = FromMessage(*request);
  if (!parsed) {
    return ToGrpcStatus(parsed.error());
  }
  StreamReplies replies(*context, *writer);
  const auto layer = manager_.StreamLayer(*parsed, replies.control());
  return ToGrpcStatus(layer ? replies.Send(**layer) : Result<void>(layer.error()));
}

grpc::Status CachemgrService::Status(grpc::ServerContext* /*context*/,
                                     const v1::StatusRequest* /*request*/, v1::StatusReply* reply) {
  reply->set_version(FLOE_VERSION);
  reply->set_channel(manager_.channel());
  reply->set_root(manager_.root().native());
  reply->set_keeper(manager_.KeeperState());
  for (const MountStatus& mount : manager_.Mounts()) {
    ToMessage(mount, *reply->add_mounts());
  }
  for (const BlobStatus& blob : manager_.Blobs()) {
    ToMessage(blob, *reply->add_blobs());
  }
  ToMessage(manager_.cache_usage(), *reply->mutable_cache());
  ToMessage(manager_.counters(), *reply->mutable_counters());
  reply->mutable_counters()->set_registry_requests(manager_.RegistryRequests());
  const ChannelCounters channel = manager_.channel_counters();
  reply->mutable_counters()->set_kernel_opens(channel.opens);
  reply->mutable_counters()->set_kernel_opens_refused(channel.opens_refused);
  reply->mutable_counters()->set_kernel_reads(channel.reads);
  reply->mutable_counters()->set_kernel_closes(channel.closes);
  return grpc::Status::OK;
}

grpc::Status CachemgrService::Probe(grpc::ServerContext* /*context*/,
                                    const v1::ProbeRequest* /*request*/, v1::ProbeReply* reply) {
  for (const Channels::ProbeResult& result : manager_.Probe()) {
    v1::ChannelProbe& probe = *reply->add_channels();
    probe.set_name(result.name);
    probe.set_usable(result.usable);
    probe.set_detail(result.detail);
  }
  return grpc::Status::OK;
}

}  // namespace floe::cachemgr
