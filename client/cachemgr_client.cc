#include "client/cachemgr_client.h"

#include <utility>

#include "client/grpc_channel.h"
#include "client/stream_layer.h"
#include "floe/cachemgr/v1/cachemgr.grpc.pb.h"

namespace floe::client {
namespace {

namespace v1 = cachemgr::v1;

// Mounting validates whole bootstraps, and a loop device or a busy disk may take its time.
constexpr std::chrono::seconds kMountTimeout{60};
// Functional probes mount things, one channel after the other.
constexpr std::chrono::seconds kProbeTimeout{60};
constexpr std::chrono::seconds kStatusTimeout{10};

v1::MountRequest MakeMountRequest(const std::string& id, const prepare::MountPlan& plan,
                                  const std::string& target, bool plain_http) {
  v1::MountRequest request;
  request.set_id(id);
  request.set_bootstrap_path(plan.bootstrap.native());
  request.set_bootstrap_digest(plan.bootstrap_digest.ToString());
  request.set_target(target);
  for (const auto& device : plan.devices) {
    v1::Device* out = request.add_devices();
    out->set_key(device.key);
    out->set_blob_map_path(device.blob_map.native());
    out->set_windows_path(device.windows.native());
    for (const image::PrefetchRun& run : device.prefetch) {
      v1::UnitRun* out_run = out->add_prefetch();
      out_run->set_first_unit(run.first_unit);
      out_run->set_unit_count(run.unit_count);
    }
    for (const fetcher::Repository& source : device.sources) {
      v1::Source* out_source = out->add_sources();
      out_source->set_registry(source.registry);
      out_source->set_repository(source.path);
      out_source->set_plain_http(plain_http);
    }
  }
  for (const auto& layer : plan.layers) {
    v1::LayerNote* out = request.add_layers();
    out->set_digest(layer.digest);
    out->set_reader(layer.reader);
    out->set_origin(layer.origin);
    out->set_why_not(layer.why_not);
  }
  return request;
}

class GrpcCachemgrClient final : public CachemgrClient {
 public:
  explicit GrpcCachemgrClient(const std::string& address)
      : peer_("cache manager at " + address),
        stub_(v1::CacheManager::NewStub(ConnectUnixSocket(address))) {}

  Result<v1::MountReply> Mount(const std::string& id, const prepare::MountPlan& plan,
                               const std::string& target, bool plain_http) override {
    return Call<v1::MountReply>(&v1::CacheManager::Stub::Mount,
                                MakeMountRequest(id, plan, target, plain_http), kMountTimeout);
  }

  Result<StreamedLayer> StreamLayer(const StreamLayerCall& call, const StreamProgress& progress,
                                    const std::atomic<bool>* cancel) override {
    return StreamLayerOver(*stub_, peer_, call, progress, cancel);
  }

  Result<void> Unmount(const std::string& id, bool detach) override {
    v1::UnmountRequest request;
    request.set_id(id);
    request.set_detach(detach);
    FLOE_RETURN_IF_ERROR(
        Call<v1::UnmountReply>(&v1::CacheManager::Stub::Unmount, request, kMountTimeout));
    return Ok();
  }

  Result<v1::StatusReply> Status() override {
    return Call<v1::StatusReply>(&v1::CacheManager::Stub::Status, v1::StatusRequest(),
                                 kStatusTimeout);
  }

  Result<v1::ProbeReply> Probe() override {
    return Call<v1::ProbeReply>(&v1::CacheManager::Stub::Probe, v1::ProbeRequest(), kProbeTimeout);
  }

 private:
  template <typename Reply, typename Method, typename Request>
  Result<Reply> Call(Method method, const Request& request, std::chrono::milliseconds timeout) {
    grpc::ClientContext context;
    SetTimeout(context, timeout);
    Reply reply;
    FLOE_RETURN_IF_ERROR(FromGrpc(((*stub_).*method)(&context, request, &reply), peer_));
    return reply;
  }

  const std::string peer_;
  const std::unique_ptr<v1::CacheManager::Stub> stub_;
};

}  // namespace

std::unique_ptr<CachemgrClient> CachemgrClient::Connect(const std::string& address) {
  return std::make_unique<GrpcCachemgrClient>(address);
}

}  // namespace floe::client
