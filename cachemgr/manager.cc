#include "cachemgr/manager.h"

#include <array>
#include <map>
#include <random>
#include <span>
#include <utility>

#include "base/digest.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "cachemgr/channel/fanotify/fanotify_channel.h"

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

// A manager without keeper serves all the same; its end disturbs what runs.
Inheritance InheritFor(const ManagerOptions& options, const std::filesystem::path& root) {
  if (options.keeper_address == "none") {
    return {};
  }
  const std::filesystem::path address = options.keeper_address.empty()
                                            ? root / "keeper.sock"
                                            : std::filesystem::path(options.keeper_address);
  auto inheritance = Inherit(address, options.keeper_program);
  if (!inheritance) {
    LogWarning("no keeper: the end of this process disturbs running containers reason=\"{}\"",
               inheritance.error().message);
    return {};
  }
  return std::move(*inheritance);
}

}  // namespace

Result<std::unique_ptr<Manager>> Manager::Create(const ManagerOptions& options,
                                                 RegistryClients::Factory clients,
                                                 const Clock& clock) {
  if (!IsChannelName(options.channel)) {
    return InvalidArgument("channel \"{}\" is none of {}", options.channel, ChannelNames());
  }
  FLOE_ASSIGN_OR_RETURN(RootDirectory root, OpenRootDirectory(options.root));
  FLOE_ASSIGN_OR_RETURN(std::string boot_id, CurrentBootId());
  Inheritance inheritance = InheritFor(options, root.path);
  std::unique_ptr<Manager> manager(new Manager(options, std::move(root), std::move(boot_id),
                                               RandomInstance(), std::move(inheritance),
                                               std::move(clients), clock));
  FLOE_RETURN_IF_ERROR(manager->mounts_.Load());
  manager->TakeOver();
  return manager;
}

Manager::Manager(const ManagerOptions& options, RootDirectory root, std::string boot_id,
                 std::string instance, Inheritance inheritance, RegistryClients::Factory clients,
                 const Clock& clock)
    : options_(options),
      root_(std::move(root)),
      inheritance_(std::move(inheritance)),
      clients_(std::move(clients)),
      filler_(options.fill, clients_, counters_, clock),
      blobs_(root_.path / "blobs", boot_id, filler_, counters_),
      channels_({.configured = options.channel,
                 .strict = options.strict,
                 .probe_directory = root_.path / "probe",
                 .readers = options.readers,
                 .cachefiles_directory = root_.path / "cachefiles",
                 .cull_limits = options.cull_limits,
                 .keeper = inheritance_.keeper.get()}),
      mounts_(root_.path, std::move(instance), std::move(boot_id), channels_, blobs_),
      checkpoint_failures_(clock),
      maintenance_([this] { RunMaintenance(); }) {}

Manager::~Manager() { Stop(); }

void Manager::TakeOver() {
  std::vector<OnDemandChannel*> taken_over;
  if (inheritance_.keeper != nullptr) {
    taken_over = channels_.TakeOver(inheritance_);
    std::map<std::string, UniqueFd> data_files;
    constexpr std::string_view kPrefix = FanotifyChannel::kBlobPrefix;
    for (auto& [name, fd] : inheritance_.held) {
      if (name.starts_with(kPrefix)) {
        data_files[name.substr(kPrefix.size())] = std::move(fd);
      }
    }
    inheritance_.held.clear();
    blobs_.UseHeld(std::move(data_files));
  }
  mounts_.Adopt(taken_over);
  for (OnDemandChannel* channel : taken_over) {
    channel->Resume();
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
  mounts_.UnmountUnused(channels_.HandOver(mounts_.ChannelsInUse()));
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
    mounts_.ReleaseGone();
    CheckKeeper();
  }
}

void Manager::CheckKeeper() {
  if (inheritance_.keeper == nullptr) {
    return;
  }
  const auto checked = inheritance_.keeper->Check();
  if (!checked && !keeper_lost_) {
    LogError("no keeper: the end of this process disturbs running containers reason=\"{}\"",
             checked.error().message);
  }
  keeper_lost_ = !checked;
}

std::string Manager::KeeperState() const {
  if (inheritance_.keeper == nullptr) {
    return "none";
  }
  const auto checked = inheritance_.keeper->Check();
  return checked ? "connected" : checked.error().message;
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
    if (mount.live || mount.lost || mount.detached) {
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
