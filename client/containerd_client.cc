#include "client/containerd_client.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>

#include "client/grpc_channel.h"
#include "containerd/services/content/v1/content.grpc.pb.h"
#include "containerd/services/diff/v1/diff.grpc.pb.h"
#include "containerd/services/images/v1/images.grpc.pb.h"
#include "containerd/services/introspection/v1/introspection.grpc.pb.h"
#include "containerd/services/leases/v1/leases.grpc.pb.h"
#include "containerd/services/namespaces/v1/namespace.grpc.pb.h"
#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "containerd/services/version/v1/version.grpc.pb.h"

namespace floe::client {
namespace {

namespace content_v1 = ::containerd::services::content::v1;
namespace diff_v1 = ::containerd::services::diff::v1;
namespace images_v1 = ::containerd::services::images::v1;
namespace introspection_v1 = ::containerd::services::introspection::v1;
namespace leases_v1 = ::containerd::services::leases::v1;
namespace namespaces_v1 = ::containerd::services::namespaces::v1;
namespace snapshots_v1 = ::containerd::services::snapshots::v1;
namespace version_v1 = ::containerd::services::version::v1;

constexpr std::chrono::seconds kCallTimeout{60};
// A Prepare may wait for a registry, within the snapshotter's own deadline.
constexpr std::chrono::minutes kPrepareTimeout{5};
// Unpacking and uploading a layer take as long as the layer is large.
constexpr std::chrono::hours kLayerTimeout{6};
constexpr size_t kWriteChunkBytes = 1U << 20U;

constexpr const char* kNamespaceHeader = "containerd-namespace";
constexpr const char* kLeaseHeader = "containerd-lease";
constexpr const char* kLeaseExpiryLabel = "containerd.io/gc.expire";

template <typename ProtoMap>
void CopyLabels(const Labels& from, ProtoMap* to) {
  for (const auto& [key, value] : from) {
    (*to)[key] = value;
  }
}

/// RFC 3339, as the garbage collector reads the label.
std::string FormatExpiry(std::chrono::seconds lifetime) {
  const auto when = std::chrono::system_clock::now() + lifetime;
  const std::time_t seconds = std::chrono::system_clock::to_time_t(when);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  const size_t length = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text, length};
}

void FillDescriptor(const image::Descriptor& from, ::containerd::types::Descriptor* to) {
  to->set_media_type(from.media_type);
  to->set_digest(from.digest.ToString());
  to->set_size(static_cast<int64_t>(from.size_bytes));
  CopyLabels(from.annotations, to->mutable_annotations());
}

/// One ingest of the content store: STAT, then WRITEs, then COMMIT, an answer for each.
class Ingest {
 public:
  using Stream =
      grpc::ClientReaderWriter<content_v1::WriteContentRequest, content_v1::WriteContentResponse>;

  Ingest(std::unique_ptr<Stream> stream, const NewContent& content, std::string ref,
         std::string peer)
      : stream_(std::move(stream)),
        content_(content),
        ref_(std::move(ref)),
        peer_(std::move(peer)) {}

  Result<void> Open() {
    content_v1::WriteContentRequest request;
    request.set_action(content_v1::STAT);
    return Exchange(request);
  }
  Result<void> Append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const size_t size = std::min(bytes.size(), kWriteChunkBytes);
      content_v1::WriteContentRequest request;
      request.set_action(content_v1::WRITE);
      request.set_offset(offset_);
      request.set_data(bytes.data(), size);
      FLOE_RETURN_IF_ERROR(Exchange(request));
      bytes = bytes.subspan(size);
    }
    return Ok();
  }
  Result<void> Commit() {
    content_v1::WriteContentRequest request;
    request.set_action(content_v1::COMMIT);
    request.set_offset(offset_);
    CopyLabels(content_.labels, request.mutable_labels());
    FLOE_RETURN_IF_ERROR(Exchange(request));
    return Finish();
  }
  /// The stream's own verdict, after which it is over.
  Result<void> Finish() {
    stream_->WritesDone();
    // containerd answers a COMMIT twice, and a stream with unread messages never finishes.
    content_v1::WriteContentResponse ignored;
    while (stream_->Read(&ignored)) {
    }
    return FromGrpc(stream_->Finish(), peer_);
  }
  /// True when the bytes are there already: another namespace shares them.
  [[nodiscard]] bool complete() const {
    return offset_ == static_cast<int64_t>(content_.size_bytes);
  }

 private:
  Result<void> Exchange(content_v1::WriteContentRequest& request) {
    request.set_ref(ref_);
    request.set_total(static_cast<int64_t>(content_.size_bytes));
    request.set_expected(content_.digest.ToString());
    content_v1::WriteContentResponse response;
    if (!stream_->Write(request) || !stream_->Read(&response)) {
      FLOE_RETURN_IF_ERROR(Finish());
      return Unavailable("{}: the content stream ended early", peer_);
    }
    offset_ = response.offset();
    return Ok();
  }

  const std::unique_ptr<Stream> stream_;
  const NewContent& content_;
  const std::string ref_, peer_;
  int64_t offset_ = 0;
};

class GrpcContainerdClient final : public ContainerdClient {
 public:
  GrpcContainerdClient(const std::string& address, std::string containerd_namespace)
      : peer_("containerd at " + address),
        namespace_(std::move(containerd_namespace)),
        channel_(ConnectUnixSocket(address)),
        content_(content_v1::Content::NewStub(channel_)),
        diff_(diff_v1::Diff::NewStub(channel_)),
        images_(images_v1::Images::NewStub(channel_)),
        introspection_(introspection_v1::Introspection::NewStub(channel_)),
        leases_(leases_v1::Leases::NewStub(channel_)),
        namespaces_(namespaces_v1::Namespaces::NewStub(channel_)),
        snapshots_(snapshots_v1::Snapshots::NewStub(channel_)),
        version_(version_v1::Version::NewStub(channel_)) {}

  Result<std::string> Version() override {
    version_v1::VersionResponse reply;
    FLOE_RETURN_IF_ERROR(Call(version_, &version_v1::Version::Stub::Version,
                              google::protobuf::Empty(), &reply, kCallTimeout));
    return reply.version();
  }

  Result<std::vector<Plugin>> Plugins() override {
    introspection_v1::PluginsResponse reply;
    FLOE_RETURN_IF_ERROR(Call(introspection_, &introspection_v1::Introspection::Stub::Plugins,
                              introspection_v1::PluginsRequest(), &reply, kCallTimeout));
    std::vector<Plugin> plugins;
    for (const auto& from : reply.plugins()) {
      plugins.push_back({from.type(),
                         from.id(),
                         {from.exports().begin(), from.exports().end()},
                         {from.capabilities().begin(), from.capabilities().end()},
                         from.has_init_err() ? from.init_err().message() : ""});
    }
    return plugins;
  }

  Result<void> EnsureNamespace() override {
    namespaces_v1::CreateNamespaceRequest request;
    request.mutable_namespace_()->set_name(namespace_);
    namespaces_v1::CreateNamespaceResponse reply;
    return IgnoreExisting(
        Call(namespaces_, &namespaces_v1::Namespaces::Stub::Create, request, &reply, kCallTimeout));
  }

  Result<void> TakeLease(std::chrono::seconds lifetime) override {
    leases_v1::CreateRequest request;
    // Unique enough to be the name of a pull: containerd refuses a second lease of that name.
    request.set_id("floe-" +
                   std::to_string(std::chrono::system_clock::now().time_since_epoch().count()));
    (*request.mutable_labels())[kLeaseExpiryLabel] = FormatExpiry(lifetime);
    leases_v1::CreateResponse reply;
    FLOE_RETURN_IF_ERROR(
        Call(leases_, &leases_v1::Leases::Stub::Create, request, &reply, kCallTimeout));
    lease_ = reply.lease().id();
    return Ok();
  }

  Result<void> ReleaseLease() override {
    leases_v1::DeleteRequest request;
    request.set_id(std::exchange(lease_, {}));
    google::protobuf::Empty reply;
    return Call(leases_, &leases_v1::Leases::Stub::Delete, request, &reply, kCallTimeout);
  }

  Result<void> WriteContent(const NewContent& content, const Producer& produce) override {
    const std::string ref = "floe-" + lease_ + "-" + content.digest.ToString();
    const auto written = TryWriteContent(content, ref, produce);
    if (written.has_value()) {
      return Ok();
    }
    if (written.error().code == ErrorCode::kAlreadyExists) {
      return AddContentLabels(content);
    }
    content_v1::AbortRequest request;
    request.set_ref(ref);
    google::protobuf::Empty reply;
    (void)Call(content_, &content_v1::Content::Stub::Abort, request, &reply, kCallTimeout);
    return written.error();
  }

  Result<bool> HasContent(const Digest& digest) override {
    content_v1::InfoRequest request;
    request.set_digest(digest.ToString());
    content_v1::InfoResponse reply;
    return Exists(Call(content_, &content_v1::Content::Stub::Info, request, &reply, kCallTimeout));
  }

  Result<void> DeleteContent(const Digest& digest) override {
    content_v1::DeleteContentRequest request;
    request.set_digest(digest.ToString());
    google::protobuf::Empty reply;
    return Call(content_, &content_v1::Content::Stub::Delete, request, &reply, kCallTimeout);
  }

  Result<bool> HasSnapshot(const std::string& snapshotter, const std::string& name) override {
    snapshots_v1::StatSnapshotRequest request;
    request.set_snapshotter(snapshotter);
    request.set_key(name);
    snapshots_v1::StatSnapshotResponse reply;
    return Exists(
        Call(snapshots_, &snapshots_v1::Snapshots::Stub::Stat, request, &reply, kCallTimeout));
  }

  Result<std::vector<Mount>> PrepareSnapshot(const std::string& snapshotter, const std::string& key,
                                             const std::string& parent,
                                             const Labels& labels) override {
    snapshots_v1::PrepareSnapshotRequest request;
    request.set_snapshotter(snapshotter);
    request.set_key(key);
    request.set_parent(parent);
    CopyLabels(labels, request.mutable_labels());
    snapshots_v1::PrepareSnapshotResponse reply;
    FLOE_RETURN_IF_ERROR(Call(snapshots_, &snapshots_v1::Snapshots::Stub::Prepare, request, &reply,
                              kPrepareTimeout));
    std::vector<Mount> mounts;
    for (const auto& from : reply.mounts()) {
      mounts.push_back({from.type(),
                        from.source(),
                        from.target(),
                        {from.options().begin(), from.options().end()}});
    }
    return mounts;
  }

  Result<void> CommitSnapshot(const std::string& snapshotter, const std::string& name,
                              const std::string& key, const Labels& labels) override {
    snapshots_v1::CommitSnapshotRequest request;
    request.set_snapshotter(snapshotter);
    request.set_name(name);
    request.set_key(key);
    CopyLabels(labels, request.mutable_labels());
    google::protobuf::Empty reply;
    return Call(snapshots_, &snapshots_v1::Snapshots::Stub::Commit, request, &reply, kCallTimeout);
  }

  Result<void> RemoveSnapshot(const std::string& snapshotter, const std::string& key) override {
    snapshots_v1::RemoveSnapshotRequest request;
    request.set_snapshotter(snapshotter);
    request.set_key(key);
    google::protobuf::Empty reply;
    return Call(snapshots_, &snapshots_v1::Snapshots::Stub::Remove, request, &reply, kCallTimeout);
  }

  Result<Digest> ApplyLayer(const image::Descriptor& layer,
                            const std::vector<Mount>& mounts) override {
    diff_v1::ApplyRequest request;
    FillDescriptor(layer, request.mutable_diff());
    for (const Mount& from : mounts) {
      auto* to = request.add_mounts();
      to->set_type(from.type);
      to->set_source(from.source);
      to->set_target(from.target);
      for (const std::string& option : from.options) {
        to->add_options(option);
      }
    }
    diff_v1::ApplyResponse reply;
    FLOE_RETURN_IF_ERROR(Call(diff_, &diff_v1::Diff::Stub::Apply, request, &reply, kLayerTimeout));
    return Digest::Parse(reply.applied().digest());
  }

  Result<void> PutImage(const std::string& name, const image::Descriptor& target) override {
    images_v1::CreateImageRequest create;
    create.mutable_image()->set_name(name);
    FillDescriptor(target, create.mutable_image()->mutable_target());
    images_v1::CreateImageResponse created;
    auto result = Call(images_, &images_v1::Images::Stub::Create, create, &created, kCallTimeout);
    if (result.has_value() || result.error().code != ErrorCode::kAlreadyExists) {
      return result;
    }
    images_v1::UpdateImageRequest update;
    *update.mutable_image() = create.image();
    update.mutable_update_mask()->add_paths("target");
    images_v1::UpdateImageResponse updated;
    return Call(images_, &images_v1::Images::Stub::Update, update, &updated, kCallTimeout);
  }

 private:
  void AddMetadata(grpc::ClientContext& context) const {
    context.AddMetadata(kNamespaceHeader, namespace_);
    if (!lease_.empty()) {
      context.AddMetadata(kLeaseHeader, lease_);
    }
  }

  template <typename Stub, typename Method, typename Request, typename Reply>
  Result<void> Call(const std::unique_ptr<Stub>& stub, Method method, const Request& request,
                    Reply* reply, std::chrono::milliseconds timeout) {
    grpc::ClientContext context;
    AddMetadata(context);
    SetTimeout(context, timeout);
    return FromGrpc(((*stub).*method)(&context, request, reply), peer_);
  }

  static Result<void> IgnoreExisting(Result<void> result) {
    if (!result.has_value() && result.error().code == ErrorCode::kAlreadyExists) {
      return Ok();
    }
    return result;
  }

  static Result<bool> Exists(const Result<void>& lookup) {
    if (lookup.has_value()) {
      return true;
    }
    if (lookup.error().code == ErrorCode::kNotFound) {
      return false;
    }
    return lookup.error();
  }

  Result<void> TryWriteContent(const NewContent& content, const std::string& ref,
                               const Producer& produce) {
    grpc::ClientContext context;
    AddMetadata(context);
    SetTimeout(context, kLayerTimeout);
    Ingest ingest(content_->Write(&context), content, ref, peer_);
    FLOE_RETURN_IF_ERROR(ingest.Open());
    if (!ingest.complete() || content.size_bytes == 0) {
      const auto produced =
          produce([&ingest](std::span<const std::byte> bytes) { return ingest.Append(bytes); });
      if (!produced.has_value()) {
        context.TryCancel();
        (void)ingest.Finish();
        return produced.error();
      }
    }
    return ingest.Commit();
  }

  Result<void> AddContentLabels(const NewContent& content) {
    if (content.labels.empty()) {
      return Ok();
    }
    content_v1::UpdateRequest request;
    request.mutable_info()->set_digest(content.digest.ToString());
    CopyLabels(content.labels, request.mutable_info()->mutable_labels());
    for (const auto& [key, value] : content.labels) {
      request.mutable_update_mask()->add_paths("labels." + key);
    }
    content_v1::UpdateResponse reply;
    return Call(content_, &content_v1::Content::Stub::Update, request, &reply, kCallTimeout);
  }

  const std::string peer_, namespace_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<content_v1::Content::Stub> content_;
  const std::unique_ptr<diff_v1::Diff::Stub> diff_;
  const std::unique_ptr<images_v1::Images::Stub> images_;
  const std::unique_ptr<introspection_v1::Introspection::Stub> introspection_;
  const std::unique_ptr<leases_v1::Leases::Stub> leases_;
  const std::unique_ptr<namespaces_v1::Namespaces::Stub> namespaces_;
  const std::unique_ptr<snapshots_v1::Snapshots::Stub> snapshots_;
  const std::unique_ptr<version_v1::Version::Stub> version_;
  std::string lease_;  ///< Empty: none.
};

}  // namespace

std::unique_ptr<ContainerdClient> ContainerdClient::Connect(
    const std::string& address, const std::string& containerd_namespace) {
  return std::make_unique<GrpcContainerdClient>(address, containerd_namespace);
}

}  // namespace floe::client
