#pragma once

#include <atomic>
#include <string>

#include "base/result.h"
#include "client/cachemgr_client.h"
#include "floe/cachemgr/v1/cachemgr.grpc.pb.h"

namespace floe::client {

/// CachemgrClient::StreamLayer over a stub. Only for the .cc files of this folder.
Result<StreamedLayer> StreamLayerOver(cachemgr::v1::CacheManager::Stub& stub,
                                      const std::string& peer, const StreamLayerCall& call,
                                      const StreamProgress& progress,
                                      const std::atomic<bool>* cancel);

}  // namespace floe::client
