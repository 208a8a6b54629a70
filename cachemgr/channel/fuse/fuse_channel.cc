#include "cachemgr/channel/fuse/fuse_channel.h"

#include <fcntl.h>

#include <utility>

#include "base/file.h"
#include "cachemgr/channel/channel_probe.h"

namespace floe::cachemgr {
namespace {

class FuseRegistration final : public DeviceRegistration {
 public:
  FuseRegistration(FuseNodes& nodes, uint64_t node) : nodes_(nodes), node_(node) {}
  ~FuseRegistration() override { nodes_.Unregister(node_); }
  FuseRegistration(const FuseRegistration&) = delete;
  FuseRegistration& operator=(const FuseRegistration&) = delete;

 private:
  FuseNodes& nodes_;
  const uint64_t node_;
};

}  // namespace

Result<std::unique_ptr<FuseChannel>> FuseChannel::Create(const Options& options) {
  std::unique_ptr<FuseChannel> channel(new FuseChannel(options));
  FLOE_ASSIGN_OR_RETURN(channel->connection_,
                        FuseConnection::Create(channel->session_, options.readers));
  return channel;
}

FuseChannel::~FuseChannel() = default;

std::string_view FuseChannel::name() const {
  return options_.attachment == Attachment::kFile ? "fuse" : "fuse-loop";
}

Result<std::unique_ptr<DeviceRegistration>> FuseChannel::Register(
    const DeviceSpec& spec, std::shared_ptr<DemandHandler> handler) {
  FLOE_ASSIGN_OR_RETURN(const uint64_t node, nodes_.Register(spec, std::move(handler)));
  return std::unique_ptr<DeviceRegistration>(std::make_unique<FuseRegistration>(nodes_, node));
}

Result<dev_t> FuseChannel::Mount(const MountSpec& spec) {
  FLOE_ASSIGN_OR_RETURN(const UniqueFd bootstrap, OpenFile(spec.bootstrap, O_RDONLY));
  ErofsMountSpec erofs{.attachment = options_.attachment, .bootstrap_fd = bootstrap.get()};
  std::vector<UniqueFd> files;
  for (const MountDevice& device : spec.devices) {
    if (device.registration == nullptr) {
      erofs.device_fds.push_back(device.data_fd);
      continue;
    }
    FLOE_ASSIGN_OR_RETURN(UniqueFd file, connection_->Open(device.key));
    erofs.device_fds.push_back(file.get());
    files.push_back(std::move(file));
  }
  return MountErofs(erofs, spec.target);
}

Result<void> FuseChannel::Probe(const std::filesystem::path& scratch) {
  return ProbeChannel(*this, scratch);
}

}  // namespace floe::cachemgr
