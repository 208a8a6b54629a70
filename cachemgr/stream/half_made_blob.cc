#include "cachemgr/stream/half_made_blob.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "base/file.h"
#include "cachemgr/cache/blob_cache.h"
#include "cachemgr/cache/blob_store.h"
#include "cachemgr/replace_file.h"
#include "image/blob_map.h"

namespace floe::cachemgr {
namespace {

namespace fs = std::filesystem;

// A cache knows how to say what is present.
Result<void> MarkAllPresent(const fs::path& directory, const image::BlobMap& map,
                            const std::string& boot_id, int data_fd) {
  UniqueFd fd(::fcntl(data_fd, F_DUPFD_CLOEXEC, 0));
  FLOE_ASSIGN_OR_RETURN(const auto cache, BlobCache::Open(directory, map, boot_id, std::move(fd)));
  std::vector<uint32_t> groups(map.group_count());
  std::iota(groups.begin(), groups.end(), 0U);
  if (!cache->MarkPresent(groups, *cache->target().file)) {
    return Internal("a data file that is not the cache's");
  }
  return Ok();
}

}  // namespace

Result<std::unique_ptr<HalfMadeBlob>> HalfMadeBlob::Create(const fs::path& blobs) {
  FLOE_RETURN_IF_ERROR(CreateDirectories(blobs));
  std::string directory = (blobs / (BlobStore::kHalfMadePrefix + "XXXXXX")).native();
  if (::mkdtemp(directory.data()) == nullptr) {
    return ErrnoError(errno, fmt::format("create {}", directory));
  }
  return In(directory);
}

Result<std::unique_ptr<HalfMadeBlob>> HalfMadeBlob::In(const fs::path& directory) {
  auto fd = OpenFile(directory / "data", O_RDWR | O_CREAT | O_EXCL);
  if (!fd.has_value()) {
    (void)RemoveTree(directory);
    return std::move(fd).error();
  }
  return std::unique_ptr<HalfMadeBlob>(new HalfMadeBlob(directory, std::move(*fd)));
}

HalfMadeBlob::~HalfMadeBlob() { (void)RemoveTree(directory_); }

Result<void> HalfMadeBlob::Seal(const std::string& map, const std::string& key,
                                const std::string& boot_id, const std::vector<Source>& sources,
                                const MakeRoom& make_room) {
  return RetryWithRoom(make_room, [&]() -> Result<void> {
    FLOE_RETURN_IF_ERROR(ReplaceFile(directory_ / "map", map));
    FLOE_RETURN_IF_ERROR(ReplaceFile(directory_ / "sources.json", EncodeSources(sources)));
    FLOE_ASSIGN_OR_RETURN(const auto opened, image::BlobMap::Open(directory_ / "map", key));
    return MarkAllPresent(directory_, *opened, boot_id, data_fd_.get());
  });
}

}  // namespace floe::cachemgr
