#pragma once

#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace floe::cachemgr {

/// Like WriteFileAtomically of base/file.h, but without waiting for the disk: survives the death of
/// any process, not a power cut. For what is verified when it is read (BlobMaps), or means nothing
/// after a reboot (mount records, copies of bootstraps): a mount of many layers would otherwise
/// wait for dozens of fsyncs.
Result<void> ReplaceFile(const std::filesystem::path& path, std::string_view bytes);

}  // namespace floe::cachemgr
