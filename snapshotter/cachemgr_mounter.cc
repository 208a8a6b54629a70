#include "snapshotter/cachemgr_mounter.h"

#include <algorithm>
#include <utility>

namespace floe::snapshotter {

CachemgrMounter::CachemgrMounter(std::unique_ptr<client::CachemgrClient> client,
                                 std::vector<std::string> plain_http)
    : client_(std::move(client)), plain_http_(std::move(plain_http)) {}

Result<void> CachemgrMounter::Ready() {
  FLOE_RETURN_IF_ERROR(client_->Status());
  return Ok();
}

Result<void> CachemgrMounter::Mount(const std::string& id, const prepare::MountPlan& plan,
                                    const std::filesystem::path& target) {
  FLOE_RETURN_IF_ERROR(client_->Mount(id, plan, target.native(), IsPlainHttp(plan)));
  return Ok();
}

Result<void> CachemgrMounter::Unmount(const std::string& id) {
  return client_->Unmount(id, /*detach=*/false);
}

// One flag for the whole plan is all the client takes: it is set when a source needs it.
bool CachemgrMounter::IsPlainHttp(const prepare::MountPlan& plan) const {
  return std::any_of(plan.devices.begin(), plan.devices.end(), [&](const auto& device) {
    return std::any_of(device.sources.begin(), device.sources.end(), [&](const auto& source) {
      return std::find(plain_http_.begin(), plain_http_.end(), source.registry) !=
             plain_http_.end();
    });
  });
}

}  // namespace floe::snapshotter
