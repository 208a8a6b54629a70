#include "snapshotter/service/snapshots_service.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "snapshotter/service/status.h"

namespace floe::snapshotter {
namespace {

namespace v1 = containerd::services::snapshots::v1;

// As containerd's own server; keeps every message far below the limit of 16 MiB.
constexpr size_t kInfosPerMessage = 100;

template <typename Map>
Labels ToLabels(const Map& labels) {
  return {labels.begin(), labels.end()};
}

void SetTimestamp(google::protobuf::Timestamp& out, std::chrono::system_clock::time_point time) {
  constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
  const int64_t nanoseconds =
      std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  out.set_seconds(nanoseconds / kNanosecondsPerSecond);
  out.set_nanos(static_cast<int32_t>(nanoseconds % kNanosecondsPerSecond));
}

v1::Kind ToProto(Kind kind) {
  switch (kind) {
    case Kind::kView:
      return v1::VIEW;
    case Kind::kActive:
      return v1::ACTIVE;
    case Kind::kCommitted:
      return v1::COMMITTED;
  }
  return v1::UNKNOWN;
}

void SetInfo(v1::Info& out, const Info& info) {
  out.set_name(info.name);
  out.set_parent(info.parent);
  out.set_kind(ToProto(info.kind));
  SetTimestamp(*out.mutable_created_at(), info.created);
  SetTimestamp(*out.mutable_updated_at(), info.updated);
  out.mutable_labels()->insert(info.labels.begin(), info.labels.end());
}

template <typename Response>
grpc::Status ReplyMounts(const Result<std::vector<Mount>>& mounts, Response* response) {
  if (!mounts) {
    return ToStatus(mounts.error());
  }
  for (const Mount& mount : *mounts) {
    containerd::types::Mount* out = response->add_mounts();
    out->set_type(mount.type);
    out->set_source(mount.source);
    out->mutable_options()->Assign(mount.options.begin(), mount.options.end());
  }
  return grpc::Status::OK;
}

template <typename Response>
grpc::Status ReplyInfo(const Result<Info>& info, Response* response) {
  if (!info) {
    return ToStatus(info.error());
  }
  SetInfo(*response->mutable_info(), *info);
  return grpc::Status::OK;
}

grpc::Status ReplyEmpty(const Result<void>& result) {
  return result ? grpc::Status::OK : ToStatus(result.error());
}

class SnapshotsService final : public v1::Snapshots::Service {
 public:
  explicit SnapshotsService(Snapshotter& snapshotter) : snapshotter_(snapshotter) {}

  grpc::Status Prepare(grpc::ServerContext*, const v1::PrepareSnapshotRequest* request,
                       v1::PrepareSnapshotResponse* response) override {
    return ReplyMounts(Logged("prepare", request->key(),
                              snapshotter_.Prepare(request->key(), request->parent(),
                                                   ToLabels(request->labels()))),
                       response);
  }

  grpc::Status View(grpc::ServerContext*, const v1::ViewSnapshotRequest* request,
                    v1::ViewSnapshotResponse* response) override {
    return ReplyMounts(
        Logged("view", request->key(),
               snapshotter_.View(request->key(), request->parent(), ToLabels(request->labels()))),
        response);
  }

  grpc::Status Mounts(grpc::ServerContext*, const v1::MountsRequest* request,
                      v1::MountsResponse* response) override {
    return ReplyMounts(Logged("mounts", request->key(), snapshotter_.Mounts(request->key())),
                       response);
  }

  grpc::Status Commit(grpc::ServerContext*, const v1::CommitSnapshotRequest* request,
                      google::protobuf::Empty*) override {
    return ReplyEmpty(Logged("commit", request->key(),
                             snapshotter_.Commit(request->name(), request->key(),
                                                 ToLabels(request->labels()), request->parent())));
  }

  grpc::Status Remove(grpc::ServerContext*, const v1::RemoveSnapshotRequest* request,
                      google::protobuf::Empty*) override {
    return ReplyEmpty(Logged("remove", request->key(), snapshotter_.Remove(request->key())));
  }

  grpc::Status Stat(grpc::ServerContext*, const v1::StatSnapshotRequest* request,
                    v1::StatSnapshotResponse* response) override {
    return ReplyInfo(snapshotter_.Stat(request->key()), response);
  }

  grpc::Status Update(grpc::ServerContext*, const v1::UpdateSnapshotRequest* request,
                      v1::UpdateSnapshotResponse* response) override {
    const auto& paths = request->update_mask().paths();
    return ReplyInfo(snapshotter_.Update(request->info().name(), ToLabels(request->info().labels()),
                                         {paths.begin(), paths.end()}),
                     response);
  }

  grpc::Status List(grpc::ServerContext*, const v1::ListSnapshotsRequest* request,
                    grpc::ServerWriter<v1::ListSnapshotsResponse>* writer) override {
    const auto infos = snapshotter_.List({request->filters().begin(), request->filters().end()});
    if (!infos) {
      return ToStatus(infos.error());
    }
    for (size_t first = 0; first < infos->size(); first += kInfosPerMessage) {
      v1::ListSnapshotsResponse message;
      const size_t end = std::min(infos->size(), first + kInfosPerMessage);
      for (size_t i = first; i < end; ++i) {
        SetInfo(*message.add_info(), (*infos)[i]);
      }
      if (!writer->Write(message)) {
        return {grpc::StatusCode::CANCELLED, "the client went away"};
      }
    }
    return grpc::Status::OK;
  }

  grpc::Status Usage(grpc::ServerContext*, const v1::UsageRequest* request,
                     v1::UsageResponse* response) override {
    const auto usage = snapshotter_.GetUsage(request->key());
    if (!usage) {
      return ToStatus(usage.error());
    }
    response->set_size(static_cast<int64_t>(usage->size_bytes));
    response->set_inodes(static_cast<int64_t>(usage->inodes));
    return grpc::Status::OK;
  }

  grpc::Status Cleanup(grpc::ServerContext*, const v1::CleanupRequest*,
                       google::protobuf::Empty*) override {
    return ReplyEmpty(Logged("cleanup", "-", snapshotter_.Cleanup()));
  }

 private:
  // What the caller did wrong is the caller's to log; what we cannot do is ours.
  template <typename T>
  static Result<T> Logged(const char* call, const std::string& key, Result<T> result) {
    if (result) {
      LogDebug("{} key={}", call, key);
      return result;
    }
    switch (result.error().code) {
      case ErrorCode::kNotFound:
      case ErrorCode::kAlreadyExists:
      case ErrorCode::kInvalidArgument:
      case ErrorCode::kFailedPrecondition:
        LogDebug("{} key={} code={} reason=\"{}\"", call, key, ErrorCodeName(result.error().code),
                 result.error().message);
        return result;
      default:
        LogError("{} failed key={} code={} reason=\"{}\"", call, key,
                 ErrorCodeName(result.error().code), result.error().message);
        return result;
    }
  }

  Snapshotter& snapshotter_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeSnapshotsService(Snapshotter& snapshotter) {
  return std::make_unique<SnapshotsService>(snapshotter);
}

}  // namespace floe::snapshotter
