#include "cachemgr/channel/cachefiles/cachefiles_culler.h"

#include <sched.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "base/thread_name.h"

namespace floe::cachemgr {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSectorBytes = 512;

int64_t Nanoseconds(const timespec& time) {
  constexpr int64_t kPerSecond = 1'000'000'000;
  return static_cast<int64_t>(time.tv_sec) * kPerSecond + time.tv_nsec;
}

// Per cent of the file system's blocks or inodes that are free, whichever are fewer, as the kernel
// counts them.
Result<unsigned> FreePercent(const fs::path& directory) {
  struct statvfs space{};
  if (::statvfs(directory.c_str(), &space) != 0) {
    return ErrnoError(errno, directory.native());
  }
  constexpr uint64_t kHundred = 100;
  // File systems that make inodes as they need them count none.
  const uint64_t inodes =
      space.f_files == 0 ? kHundred : uint64_t{space.f_favail} * kHundred / space.f_files;
  const uint64_t blocks =
      space.f_blocks == 0 ? 0 : uint64_t{space.f_bavail} * kHundred / space.f_blocks;
  return static_cast<unsigned>(std::min(inodes, blocks));
}

}  // namespace

Result<std::vector<CullCandidate>> ListCullCandidates(const fs::path& directory) {
  std::vector<CullCandidate> candidates;
  std::error_code error;
  fs::recursive_directory_iterator it(directory / "cache", error);
  for (const fs::recursive_directory_iterator end; !error && it != end; it.increment(error)) {
    struct stat status{};
    if (::lstat(it->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
      continue;  // A directory, or gone meanwhile.
    }
    candidates.push_back(
        {.path = it->path(),
         .last_used_ns = std::max(Nanoseconds(status.st_atim), Nanoseconds(status.st_mtim)),
         .disk_bytes = static_cast<uint64_t>(status.st_blocks) * kSectorBytes});
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return ErrnoError(error.value(), (directory / "cache").native());
  }
  std::ranges::sort(candidates, {}, &CullCandidate::last_used_ns);
  return candidates;
}

CachefilesCuller::CachefilesCuller(CachefilesDevice& device, Options options)
    : device_(device), options_(std::move(options)), thread_([this] { Run(); }) {}

CachefilesCuller::~CachefilesCuller() {
  const MutexLock lock(mutex_);
  stopping_ = true;
  wake_.NotifyAll();
}

void CachefilesCuller::Run() {
  SetThreadName("cf-cull");
  if (::unshare(CLONE_FS) != 0) {
    LogError("no culling reason=\"unshare: errno {}\"", errno);
    return;
  }
  for (;;) {
    CullOnce();
    const MutexLock lock(mutex_);
    const auto next = std::chrono::steady_clock::now() + options_.interval;
    while (!stopping_ && wake_.WaitUntil(mutex_, next)) {
    }
    if (stopping_) {
      return;
    }
  }
}

void CachefilesCuller::CullOnce() {
  std::error_code error;
  for (fs::directory_iterator it(options_.directory / "graveyard", error), end; !error && it != end;
       it.increment(error)) {
    (void)RemoveTree(it->path());
  }
  const auto free_percent = FreePercent(options_.directory);
  if (!free_percent || *free_percent >= options_.limits.cull_percent) {
    return;
  }
  const auto candidates = ListCullCandidates(options_.directory);
  if (!candidates) {
    LogWarning("no culling reason=\"{}\"", candidates.error().message);
    return;
  }
  uint64_t culled = 0;
  uint64_t bytes = 0;
  for (const CullCandidate& candidate : *candidates) {
    const auto now = FreePercent(options_.directory);
    if (!now || *now >= options_.limits.run_percent) {
      break;
    }
    if (const auto gone = Cull(candidate); gone && *gone) {
      ++culled;
      bytes += candidate.disk_bytes;
    }
  }
  LogInfo("culled files={} bytes={} free_percent_before={}", culled, bytes, *free_percent);
}

Result<bool> CachefilesCuller::Cull(const CullCandidate& candidate) {
  // This thread's own working directory: unshare above.
  if (::chdir(candidate.path.parent_path().c_str()) != 0) {
    return ErrnoError(errno, candidate.path.native());
  }
  const std::string name = candidate.path.filename();
  FLOE_ASSIGN_OR_RETURN(const bool in_use, device_.IsInUse(name));
  auto culled = in_use ? Result<bool>(false) : device_.Cull(name);
  (void)!::chdir("/");  // Holds no directory of the cache.
  return culled;
}

}  // namespace floe::cachemgr
