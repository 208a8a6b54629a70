#pragma once

#include <memory>

#include <grpcpp/impl/codegen/service_type.h>

#include "snapshotter/snapshots.h"

namespace floe::snapshotter {

/// containerd.services.snapshots.v1.Snapshots over a Snapshotter, which must outlive it. Translates
/// and nothing else; any number of threads.
std::unique_ptr<grpc::Service> MakeSnapshotsService(Snapshotter& snapshotter);

}  // namespace floe::snapshotter
