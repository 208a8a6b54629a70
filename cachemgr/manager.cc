#include "cachemgr/manager.h"

#include <array>
#include <map>
#include <random>
#include <span>
#include <utility>

#include "base/digest.h"
#include "base/log.h"
#include "base/thread_name.h"

namespace floe::cachemgr {
namespace {

// Names a process; two of them never share it.
std::string RandomInstance() {
  std::random_device source;
  std::array<uint32_t, 4> words{};
  for (uint32_t& word : words) {
    word = source();
  }
  const auto bytes = std::as_bytes(std::span(words));
  return HexEncode({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

}  // namespace

Result<std::unique_ptr<Manager>> Manager::Create(const ManagerOptions& options,
                                                 RegistryClients::Factory clients,
                                                 const Clock& clock, UniqueFd cachefiles) {
  if (!IsChannelName(options.channel)) {
    return InvalidArgument("channel \"{}\" is none of auto, fuse, fuse-loop, cachefiles",
                           options.channel);
  }
  FLOE_ASSIGN_OR_RETURN(RootDirectory root, OpenRootDirectory(options.root));
  FLOE_ASSIGN_OR_RETURN(std::string boot_id, CurrentBootId());
  std::unique_ptr<Manager> manager(new Manager(options, std::move(root), std::move(boot_id),
                                               RandomInstance(), std::move(clients), clock));
  FLOE_RETURN_IF_ERROR(manager->mounts_.Load());
  if (cachefiles.valid()) {
    manager->TakeOver(std::move(cachefiles));
  }
  return manager;
}

Manager::Manager(const ManagerOptions& options, RootDirectory root, std::string boot_id,
                 std::string instance, RegistryClients::Factory clients, const Clock& clock)
    : options_(options),
      root_(std::move(root)),
      clients_(std::move(clients)),
      filler_(options.fill, clients_, counters_, clock),
      blobs_(root_.path / "blobs", std::move(boot_id), filler_, counters_),
      channels_({.configured = options.channel,
                 .probe_directory = root_.path / "probe",
                 .fuse_readers = options.fuse_readers,
                 .cachefiles_directory = root_.path / "cachefiles",
                 .cull_limits = options.cull_limits}),
      mounts_(root_.path / "mounts", std::move(instance), channels_, blobs_),
      checkpoint_failures_(clock),
      maintenance_([this] { RunMaintenance(); }) {}

Manager::~Manager() { Stop(); }

void Manager::TakeOver(UniqueFd cachefiles) {
  const auto channel = channels_.TakeOver(std::move(cachefiles));
  if (!channel) {
    LogError("inherited /dev/cachefiles not used reason=\"{}\"", channel.error().message);
  } else if (*channel != nullptr) {
    mounts_.Adopt(**channel);
    (*channel)->Resume();
  }
}

void Manager::Stop() {
  {
    const MutexLock lock(mutex_);
    if (stopping_) {
      return;
    }
    stopping_ = true;
  }
  wake_.NotifyAll();
  maintenance_.join();
  mounts_.UnmountUnused(channels_.HandOver());
  filler_.Stop();
  CheckpointAll();
}

void Manager::RunMaintenance() {
  SetThreadName("maintenance");
  for (;;) {
    {
      const MutexLock lock(mutex_);
      const auto next = std::chrono::steady_clock::now() + options_.checkpoint_interval;
      while (!stopping_ && wake_.WaitUntil(mutex_, next)) {
      }
      if (stopping_) {
        return;
      }
    }
    CheckpointAll();
  }
}

void Manager::CheckpointAll() {
  for (const auto& blob : blobs_.Opened()) {
    const bool was_complete = blob->cache().complete();
    if (auto done = blob->cache().Checkpoint(); !done && checkpoint_failures_.Take()) {
      LogError("checkpoint failed key={} reason=\"{}\"", blob->map().key(), done.error().message);
    }
    if (!was_complete && blob->cache().complete()) {
      mounts_.BlobCompleted(blob->map().key());
    }
  }
}

std::vector<BlobStatus> Manager::Blobs() {
  std::map<std::string, uint32_t> users;
  for (const MountStatus& mount : mounts_.List()) {
    if (mount.live) {
      for (const std::string& key : mount.record.keys) {
        ++users[key];
      }
    }
  }
  std::vector<BlobStatus> list;
  for (const auto& blob : blobs_.All()) {
    BlobCache& cache = blob->cache();
    list.push_back({.key = blob->map().key(),
                    .blob_digest = blob->map().blob_digest().ToString(),
                    .device_bytes = blob->map().device_size_bytes(),
                    .present_bytes = cache.present_bytes(),
                    .disk_bytes = cache.DiskBytes(),
                    .blob_bytes = blob->map().blob_size_bytes(),
                    .fetched_bytes = blob->fetched_bytes(),
                    .mounts = users[blob->map().key()],
                    .complete = cache.complete()});
  }
  return list;
}

}  // namespace floe::cachemgr
