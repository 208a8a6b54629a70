#pragma once

#include <filesystem>

#include "base/result.h"
#include "cachemgr/cache/blob.h"

namespace floe::cachemgr {

/// Copies to `blob` what it lacks from `data`, a file with all verified bytes of its device. The
/// next checkpoint makes it durable. Fills may go on beside it. Nothing is copied where the blob's
/// bytes lie in a file of the channel whose written blocks count as present (WriteRules): it is
/// filled as before.
Result<void> CopyAbsent(const std::filesystem::path& data, Blob& blob);

}  // namespace floe::cachemgr
