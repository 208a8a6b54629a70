#include "cachemgr/channel/fuse/fuse_channel.h"

#include <fcntl.h>

#include <utility>

#include "base/file.h"
#include "base/log.h"
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

FuseChannel::HeldNames FuseChannel::NamesOf(std::string_view channel) {
  return {.device = fmt::format("{}:device", channel), .mount = fmt::format("{}:mount", channel)};
}

Result<std::unique_ptr<FuseChannel>> FuseChannel::Create(const Options& options) {
  std::unique_ptr<FuseChannel> channel(new FuseChannel(options, /*taken_over=*/false));
  FLOE_ASSIGN_OR_RETURN(channel->connection_,
                        FuseConnection::Create(channel->session_, options.readers));
  return channel;
}

std::unique_ptr<FuseChannel> FuseChannel::TakeOver(const Options& options, FuseHandles held) {
  std::unique_ptr<FuseChannel> channel(new FuseChannel(options, /*taken_over=*/true));
  channel->connection_ = FuseConnection::TakeOver(channel->session_, std::move(held));
  return channel;
}

FuseChannel::~FuseChannel() {
  const MutexLock lock(mutex_);
  if (kept_ && !handed_over_) {
    const HeldNames names = NamesOf(name());
    options_.keeper->Release(names.device);
    options_.keeper->Release(names.mount);
  }
}

void FuseChannel::Resume() {
  if (auto resumed = connection_->Resume(options_.readers); !resumed) {
    LogError("requests of the former process are lost channel={} reason=\"{}\"", name(),
             resumed.error().message);
  }
}

bool FuseChannel::HandOver() {
  const MutexLock lock(mutex_);
  if (!kept_) {
    return false;
  }
  if (auto there = options_.keeper->Check(); !there) {
    LogError("no keeper: reads of mounts in use will fail channel={} reason=\"{}\"", name(),
             there.error().message);
    return false;
  }
  connection_->HandOver();
  handed_over_ = true;
  return true;
}

void FuseChannel::KeepConnection() {
  const MutexLock lock(mutex_);
  if (kept_ || options_.keeper == nullptr || !session_.resend_granted()) {
    return;
  }
  const HeldNames names = NamesOf(name());
  Result<void> kept = options_.keeper->Keep(names.mount, connection_->mount_fd());
  if (kept) {
    kept = options_.keeper->Keep(names.device, connection_->device_fd());
  }
  kept_ = kept.has_value();
  if (!kept) {
    options_.keeper->Release(names.mount);
    LogWarning("fuse connection not held reason=\"{}\"", kept.error().message);
  }
}

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
  KeepConnection();  // The first file was opened, so INIT has been answered.
  return MountErofs(erofs, spec.target);
}

Result<void> FuseChannel::Probe(const std::filesystem::path& scratch) {
  return ProbeChannel(*this, scratch);
}

}  // namespace floe::cachemgr
