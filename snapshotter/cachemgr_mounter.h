#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/cachemgr_client.h"
#include "snapshotter/image_mounter.h"

namespace floe::snapshotter {

/// Mounts through the cache manager's socket. Thread-safe.
class CachemgrMounter final : public ImageMounter {
 public:
  /// `plain_http`: registries that are spoken to without TLS.
  CachemgrMounter(std::unique_ptr<client::CachemgrClient> client,
                  std::vector<std::string> plain_http);

  Result<void> Ready() override;
  Result<void> Mount(const std::string& id, const prepare::MountPlan& plan,
                     const std::filesystem::path& target) override;
  Result<void> Unmount(const std::string& id) override;

 private:
  [[nodiscard]] bool IsPlainHttp(const prepare::MountPlan& plan) const;

  const std::unique_ptr<client::CachemgrClient> client_;
  const std::vector<std::string> plain_http_;
};

}  // namespace floe::snapshotter
