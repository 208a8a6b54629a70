#include "snapshotter/disk_usage.h"

#include <fts.h>
#include <sys/stat.h>

#include <memory>
#include <set>
#include <utility>

namespace floe::snapshotter {
namespace {

constexpr uint64_t kStatBlockBytes = 512;  // stat(2): st_blocks.

struct CloseFts {
  void operator()(FTS* stream) const { ::fts_close(stream); }
};

bool IsCounted(const FTSENT& entry) {
  switch (entry.fts_info) {
    case FTS_DP:  // A directory the second time.
    case FTS_DNR:
    case FTS_NS:
    case FTS_ERR:
      return false;
    default:
      return true;
  }
}

}  // namespace

Result<Usage> DiskUsage(const std::filesystem::path& directory) {
  std::string path = directory.native();
  char* roots[] = {path.data(), nullptr};
  const std::unique_ptr<FTS, CloseFts> stream(
      ::fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, nullptr));
  if (stream == nullptr) {
    return ErrnoError(errno, "measure " + path);
  }
  Usage usage;
  std::set<std::pair<dev_t, ino_t>> hard_links;
  errno = 0;
  while (const FTSENT* entry = ::fts_read(stream.get())) {
    if (!IsCounted(*entry)) {
      continue;
    }
    const struct stat& status = *entry->fts_statp;
    const bool several_names = !S_ISDIR(status.st_mode) && status.st_nlink > 1;
    if (several_names && !hard_links.emplace(status.st_dev, status.st_ino).second) {
      continue;
    }
    ++usage.inodes;
    usage.size_bytes += static_cast<uint64_t>(status.st_blocks) * kStatBlockBytes;
  }
  if (errno != 0 && errno != ENOENT) {
    return ErrnoError(errno, "measure " + path);
  }
  return usage;
}

}  // namespace floe::snapshotter
