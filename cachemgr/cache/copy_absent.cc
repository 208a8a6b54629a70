#include "cachemgr/cache/copy_absent.h"

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "base/file.h"

namespace floe::cachemgr {
namespace {

constexpr uint64_t kCopyBytes = 1U << 20U;

Result<void> CopyExtent(int from, const image::ExtentView& extent, CacheFile& to,
                        std::vector<std::byte>& buffer) {
  for (uint64_t done = 0; done < extent.length;) {
    buffer.resize(std::min(extent.length - done, kCopyBytes));
    FLOE_RETURN_IF_ERROR(PreadAll(from, buffer, extent.device_offset + done));
    FLOE_RETURN_IF_ERROR(to.Write(buffer, extent.device_offset + done));
    done += buffer.size();
  }
  return Ok();
}

}  // namespace

Result<void> CopyAbsent(const std::filesystem::path& data, Blob& blob) {
  BlobCache& cache = blob.cache();
  const image::BlobMap& map = blob.map();
  const BlobCache::Target target = cache.target();
  if (cache.AllPresent() || target.file->rules().written_is_present) {
    return Ok();
  }
  FLOE_ASSIGN_OR_RETURN(const UniqueFd from, OpenFile(data, O_RDONLY));
  std::vector<std::byte> buffer;
  std::vector<uint32_t> copied;
  for (uint32_t group = 0; group < map.group_count(); ++group) {
    if (cache.IsGroupPresent(group)) {
      continue;
    }
    const image::GroupView view = map.group(group);
    for (uint32_t n = 0; n < view.extent_count; ++n) {
      FLOE_RETURN_IF_ERROR(CopyExtent(from.get(), map.GroupExtent(view, n), *target.file, buffer));
    }
    copied.push_back(group);
  }
  if (cache.MarkPresent(copied, *target.file)) {  // Else a channel has put its own file there.
    cache.UseUnsynced();
  }
  return Ok();
}

}  // namespace floe::cachemgr
