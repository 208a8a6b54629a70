#pragma once

#include "cachemgr/manager.h"
#include "floe/cachemgr/v1/cachemgr.grpc.pb.h"

namespace floe::cachemgr {

/// The RPCs of proto/floe/cachemgr/v1 over a Manager. Runs on gRPC's own threads.
class CachemgrService final : public v1::CacheManager::Service {
 public:
  /// `manager` must outlive this.
  explicit CachemgrService(Manager& manager) : manager_(manager) {}

  grpc::Status Mount(grpc::ServerContext* context, const v1::MountRequest* request,
                     v1::MountReply* reply) override;
  grpc::Status Unmount(grpc::ServerContext* context, const v1::UnmountRequest* request,
                       v1::UnmountReply* reply) override;
  grpc::Status StreamLayer(grpc::ServerContext* context, const v1::StreamLayerRequest* request,
                           grpc::ServerWriter<v1::StreamLayerReply>* writer) override;
  grpc::Status Status(grpc::ServerContext* context, const v1::StatusRequest* request,
                      v1::StatusReply* reply) override;
  grpc::Status Probe(grpc::ServerContext* context, const v1::ProbeRequest* request,
                     v1::ProbeReply* reply) override;

 private:
  Manager& manager_;
};

}  // namespace floe::cachemgr
