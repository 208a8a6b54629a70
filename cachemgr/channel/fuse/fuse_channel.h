#pragma once

#include <memory>

#include "cachemgr/channel/channel.h"
#include "cachemgr/channel/erofs_mount.h"
#include "cachemgr/channel/fuse/fuse_connection.h"

namespace floe::cachemgr {

/// Demands arrive as FUSE READs of files that stand under an EROFS mount. Fails closed: when this
/// process dies, reads of what is not in the page cache end with EIO. Pages that left the page
/// cache are read through the daemon again, present or not.
class FuseChannel final : public OnDemandChannel {
 public:
  struct Options {
    Attachment attachment = Attachment::kFile;
    unsigned readers = 2;
  };
  static Result<std::unique_ptr<FuseChannel>> Create(const Options& options);
  ~FuseChannel() override;

  [[nodiscard]] std::string_view name() const override;
  [[nodiscard]] bool MixesWithPlainFiles() const override { return true; }
  Result<std::unique_ptr<DeviceRegistration>> Register(
      const DeviceSpec& spec, std::shared_ptr<DemandHandler> handler) override;
  Result<dev_t> Mount(const MountSpec& spec) override;
  Result<void> Probe(const std::filesystem::path& scratch) override;

 private:
  explicit FuseChannel(const Options& options) : options_(options) {}

  const Options options_;
  FuseNodes nodes_;
  FuseSession session_{nodes_};
  std::unique_ptr<FuseConnection> connection_;
};

}  // namespace floe::cachemgr
