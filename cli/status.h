#pragma once

#include <string>

#include "floe/cachemgr/v1/cachemgr.pb.h"

/// The output of `floe status`.
namespace floe::cli {

/// For people: counters, mounts, blobs.
std::string StatusText(const cachemgr::v1::StatusReply& status);
/// For programs: one JSON object with the field names of floe.cachemgr.v1.StatusReply, and
/// "misses": reads that were not answered from the cache at once.
std::string StatusJson(const cachemgr::v1::StatusReply& status);

}  // namespace floe::cli
