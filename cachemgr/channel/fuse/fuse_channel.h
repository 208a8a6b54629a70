#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "cachemgr/channel/channel.h"
#include "cachemgr/channel/erofs_mount.h"
#include "cachemgr/channel/fuse/fuse_connection.h"
#include "cachemgr/keeper/keeper_client.h"

namespace floe::cachemgr {

/// Demands arrive as FUSE READs of files that stand under an EROFS mount. Fails closed: when the
/// last process that holds the connection dies, reads of what is not in the page cache end with
/// EIO; while a keeper holds it, they wait for the next cache manager. Pages that left the page
/// cache are read through the daemon again, present or not.
class FuseChannel final : public OnDemandChannel {
 public:
  struct Options {
    Attachment attachment = Attachment::kFile;
    unsigned readers = 2;
    /// Holds the connection over the end of this process where the kernel can hand requests on
    /// (6.9); null: nobody does.
    KeeperClient* keeper = nullptr;
  };
  static Result<std::unique_ptr<FuseChannel>> Create(const Options& options);
  /// Goes on with what the keeper held for a former process (HeldNames).
  static std::unique_ptr<FuseChannel> TakeOver(const Options& options, FuseHandles held);
  ~FuseChannel() override;

  [[nodiscard]] std::string_view name() const override;
  [[nodiscard]] bool MixesWithPlainFiles() const override { return true; }
  Result<std::unique_ptr<DeviceRegistration>> Register(
      const DeviceSpec& spec, std::shared_ptr<DemandHandler> handler) override;
  Result<dev_t> Mount(const MountSpec& spec) override;
  Result<void> Probe(const std::filesystem::path& scratch) override;

  [[nodiscard]] bool taken_over() const override { return taken_over_; }
  void Resume() override;
  bool HandOver() override;

  /// Under which the keeper holds the connection of a channel of this name.
  struct HeldNames {
    std::string device, mount;
  };
  static HeldNames NamesOf(std::string_view channel);

 private:
  FuseChannel(const Options& options, bool taken_over)
      : options_(options), taken_over_(taken_over), kept_(taken_over) {}
  /// Once the kernel has said that it can hand requests on.
  void KeepConnection();

  const Options options_;
  const bool taken_over_;
  FuseNodes nodes_;
  FuseSession session_{nodes_};
  std::unique_ptr<FuseConnection> connection_;
  Mutex mutex_;
  bool kept_ FLOE_GUARDED_BY(mutex_);  ///< The keeper has it.
  bool handed_over_ FLOE_GUARDED_BY(mutex_) = false;
};

}  // namespace floe::cachemgr
